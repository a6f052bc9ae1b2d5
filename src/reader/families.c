/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Which family drives which reader: the list that Info.plist and the udev rules are made from as well
 * (ifdhandler/readers.list), then the configuration's usb_id lines.
 */
#include "reader/reader.h"

#include "reader/readers_generated.h"

static const struct reader_family *const families[] = {
    &aet63_family,
    &vivopay_family,
};

static const struct reader_family *family_by_id(char id)
{
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++)
        if (families[i]->id == id)
            return families[i];
    return NULL;
}

const struct reader_family *reader_family_for_usb(uint16_t vid, uint16_t pid, struct log *log)
{
    struct usb_id extra[SETTINGS_USB_IDS_MAX];
    size_t n = settings_extra_usb_ids(extra, SETTINGS_USB_IDS_MAX, log);

    for (size_t i = 0; i < sizeof reader_list / sizeof reader_list[0]; i++)
        if (reader_list[i].vid == vid && reader_list[i].pid == pid)
            return family_by_id(reader_list[i].family);
    for (size_t i = 0; i < n; i++)
        if (extra[i].vid == vid && extra[i].pid == pid)
            return family_by_id(extra[i].family);
    return NULL;
}

const struct reader_family *reader_family_for_serial(void)
{
    return family_by_id('v');
}
