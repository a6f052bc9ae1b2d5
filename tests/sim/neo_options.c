/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The options of the simulated reader: one table row each, with the values a word stands for. Everything that the
 * specification leaves open, or that differs between firmware generations, is a row here, so that a test can have the
 * reader either way. The default is what the specification holds most likely.
 */
#define _POSIX_C_SOURCE 200809L
#include "neo_model.h"

#include <stdlib.h>
#include <string.h>

#define AT(field) offsetof(struct neo_options, field)

static const struct option {
    const char *name;
    size_t at;
    const char *words; /* "a|b": the value is the word's index; NULL: a number */
    int base;
    unsigned long max;
    unsigned initial;
} options[] = {
    {"link", AT(link_hid), "serial|hid", 0, 0, 0},
    {"out", AT(out_setreport), "int|setreport", 0, 0, 0},
    {"keyboard", AT(keyboard), "0|1", 0, 0, 0},
    {"vid", AT(vid), NULL, 16, 0xFFFF, 0x0ACD},
    {"pid", AT(pid), NULL, 16, 0xFFFF, 0x3530},
    {"crc", AT(crc), "strict|lenient|swapped|swapped-all", 0, 0, NEO_CRC_STRICT},
    {"answercrc", AT(answer_crc), "msb|lsb", 0, 0, 0},
    {"nibble", AT(nibble_any), "strict|any", 0, 0, 0}, /* of 2C-07 and its like */
    {"nocard", AT(nocard), NULL, 16, 0xFF, NEO_ST_TIMEOUT},
    {"nocontact", AT(nocontact), NULL, 16, 0xFF, NEO_ST_TIMEOUT},
    {"2c0e", AT(ats_poll), "off|a|b", 0, 0, NEO_ATS_A},
    {"2c44", AT(felica_raw), "off|on", 0, 0, 1},
    {"info", AT(info), "off|on", 0, 0, 1},
    {"dual", AT(dual_loose), "strict|loose", 0, 0, 0},
    {"auth", AT(eager_auth), "lazy|eager", 0, 0, 0},
    {"aftererror", AT(stays), "mute|stay", 0, 0, 0},
    {"sred", AT(sred), "0|1", 0, 0, 0},
    {"enc", AT(enc), "off|mac|nomac|nokey|exhausted|other", 0, 0, NEO_ENC_OFF},
    {"ksn", AT(ksn_stays), "counts|stays", 0, 0, 0}, /* of encrypted answers */
    {"iso15693", AT(iso15693), "off|crc3309|drivercrc", 0, 0, NEO_15693_OFF},
    {"vicinitytype", AT(vicinity_type), NULL, 16, 0xFF, 0},
    {"icc", AT(icc), "off|on", 0, 0, 1},
    {"getresponse", AT(get_response), "off|auto", 0, 0, 0},
    {"fwt", AT(fwt), NULL, 10, 60000, 100},
    {"latency", AT(latency), NULL, 10, 60000, 0},
    {"polltime", AT(poll_time), NULL, 10, 60000, 0},
    {"boot", AT(boot), "none|text|frame", 0, 0, NEO_BOOT_NONE},
    {"bootms", AT(boot_ms), NULL, 10, 60000, 0},
    {"burst", AT(burst), NULL, 10, 60000, 0},
    {"autoswitch", AT(auto_switch), "0|1", 0, 0, 0},
    {"baud", AT(baud_allowed), "refuse|allow", 0, 0, 0},
    {"antenna", AT(antenna_any), "pass|any", 0, 0, 0},
    {"secondstop", AT(second_stop), NULL, 16, 0xFF, NEO_ST_OK},
    {"product", AT(product), NULL, 16, 0xFFFFFF, 0x433600},
};

void neo_options_default(struct neo_options *o)
{
    memset(o, 0, sizeof *o);
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
        *(unsigned *)(void *)((char *)o + options[i].at) = options[i].initial;
    strcpy(o->serial, "630Z000001");
    strcpy(o->model, "VP3300 USB NEO v1.01.107");
}

static bool find_word(const char *words, const char *value, unsigned *number)
{
    size_t n = strlen(value);

    for (*number = 0; n > 0; (*number)++) {
        size_t len = strcspn(words, "|");

        if (len == n && memcmp(words, value, n) == 0)
            return true;
        if (words[len] == '\0')
            return false;
        words += len + 1;
    }
    return false;
}

static bool set_text(char *text, size_t size, const char *value)
{
    if (strlen(value) >= size)
        return false;
    strcpy(text, value);
    return true;
}

/* Groups of features that firmware generations have or have not. */
static bool set_generation(struct neo_options *o, const char *value)
{
    bool neo2 = strcmp(value, "neo2") == 0;

    if (!neo2 && strcmp(value, "neo1") != 0)
        return false;
    o->ats_poll = neo2 ? NEO_ATS_A : NEO_ATS_OFF;
    o->felica_raw = neo2;
    o->info = neo2;
    o->dual_loose = neo2;
    return true;
}

bool neo_options_set(struct neo_options *o, const char *key, const char *value, char *why, size_t why_size)
{
    bool ok = false;

    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        unsigned *field = (unsigned *)(void *)((char *)o + options[i].at), word;
        char *end = NULL;
        unsigned long number;

        if (strcmp(key, options[i].name) != 0)
            continue;
        if (options[i].words != NULL) {
            ok = find_word(options[i].words, value, &word);
            *field = ok ? word : *field;
        } else {
            number = strtoul(value, &end, options[i].base);
            ok = *value != '\0' && *end == '\0' && number <= options[i].max;
            *field = ok ? (unsigned)number : *field;
        }
    }
    if (strcmp(key, "serial") == 0)
        ok = strlen(value) <= 15 && set_text(o->serial, sizeof o->serial, strcmp(value, "none") == 0 ? "" : value);
    else if (strcmp(key, "model") == 0)
        ok = set_text(o->model, sizeof o->model, value);
    else if (strcmp(key, "generation") == 0)
        ok = set_generation(o, value);
    if (!ok)
        snprintf(why, why_size, "bad option %.40s=%.40s", key, value);
    return ok;
}

bool neo_options_parse(struct neo_options *o, const char *text, char *why, size_t why_size)
{
    char copy[512], *save = NULL;

    if (strlen(text) >= sizeof copy) {
        snprintf(why, why_size, "options too long");
        return false;
    }
    strcpy(copy, text);
    for (char *item = strtok_r(copy, ",", &save); item != NULL; item = strtok_r(NULL, ",", &save)) {
        char *value = strchr(item, '=');

        if (value == NULL) {
            snprintf(why, why_size, "option %.40s has no value", item);
            return false;
        }
        *value = '\0';
        if (!neo_options_set(o, item, value + 1, why, why_size))
            return false;
    }
    return true;
}
