/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The rows of a ViVOpay reader, one function each; the table of them is in vivo_table.c.
 */
#ifndef PROBE_VIVO_ROWS_H
#define PROBE_VIVO_ROWS_H

#include "probe/vivo_wire.h"

/* The shortest APDU that every card may be asked: SELECT of the list of payment applications. */
extern const uint8_t vivo_select_ppse[];
extern const size_t vivo_select_ppse_size;

/* The card of the present need, activated for APDUs. False: it said so as the row's verdict. */
bool vivo_open_apdu(struct probe *p, struct vivo_heard *h);

/* HLTA, WUPA, then each cascade level by the bytes that the card of type A sends: vivo_storage.c. */
bool vivo_select_by_hand(struct probe *p, uint8_t atqa[2], uint8_t *sak);

/* vivo_line.c: links and frames */
void row_v01(struct probe *p);
void row_v02(struct probe *p);
void row_v03(struct probe *p);
void row_v04(struct probe *p);
void row_v05(struct probe *p);
void row_v06(struct probe *p);
void row_v07(struct probe *p);
void row_v08(struct probe *p);
void row_v09(struct probe *p);
void row_v10(struct probe *p);
void row_v11(struct probe *p);
void row_v12(struct probe *p);
void row_v13(struct probe *p);
void row_v14(struct probe *p);
void row_v15(struct probe *p);

/* vivo_field.c: contactless cards */
void row_v16(struct probe *p);
void row_v17(struct probe *p);
void row_v18(struct probe *p);
void row_v19(struct probe *p);
void row_v20(struct probe *p);
void row_v21(struct probe *p);
void row_v22(struct probe *p);
void row_v23(struct probe *p);
void row_v24(struct probe *p);
void row_v25(struct probe *p);
void row_v26(struct probe *p);
void row_v27(struct probe *p);
void row_v29(struct probe *p);
void row_v30(struct probe *p);

/* vivo_storage.c: MIFARE, Ultralight */
void row_v31(struct probe *p);
void row_v32(struct probe *p);
void row_v33(struct probe *p);
void row_v34(struct probe *p);
void row_v36(struct probe *p);
void row_v37(struct probe *p);
void row_v38(struct probe *p);
void row_v47(struct probe *p);

/* vivo_contact.c: contact slot, SAM, encryption, ISO 15693 */
void row_v39(struct probe *p);
void row_v40(struct probe *p);
void row_v41(struct probe *p);
void row_v42(struct probe *p);
void row_v43(struct probe *p);
void row_v44(struct probe *p);
void row_v45(struct probe *p);
void row_v46(struct probe *p);

#endif
