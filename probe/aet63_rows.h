/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The rows of the AET63, one function each; the table of them is in aet63_table.c.
 */
#ifndef PROBE_AET63_ROWS_H
#define PROBE_AET63_ROWS_H

#include "probe/aet63_wire.h"

/* aet63_begin.c: the opening, packets */
void row_a01(struct probe *p);
void row_a02(struct probe *p);
void row_a03(struct probe *p);
void row_a04(struct probe *p);
void row_a05(struct probe *p);
void row_a06(struct probe *p);
void row_a07(struct probe *p);
void row_a08(struct probe *p);
void row_a52(struct probe *p);

/* aet63_frames.c: frames and the line, SAM, EEPROM, fingerprint module */
void row_a10(struct probe *p);
void row_a11(struct probe *p);
void row_a12(struct probe *p);
void row_a13(struct probe *p);
void row_a14(struct probe *p);
void row_a15(struct probe *p);
void row_a16(struct probe *p);
void row_a17(struct probe *p);
void row_a18(struct probe *p);
void row_a19(struct probe *p);
void row_a20(struct probe *p);
void row_a21(struct probe *p);
void row_a22(struct probe *p);
void row_a36(struct probe *p);
void row_a37(struct probe *p);
void row_a46(struct probe *p);
void row_a48(struct probe *p);
void row_a49(struct probe *p);
void row_a50(struct probe *p);

/* aet63_presence.c */
void row_a23(struct probe *p);
void row_a24(struct probe *p);
void row_a25(struct probe *p);
void row_a26(struct probe *p);
void row_a27(struct probe *p);
void row_a28(struct probe *p);

/* aet63_cards.c */
void row_a29(struct probe *p);
void row_a30(struct probe *p);
void row_a31(struct probe *p);
void row_a32(struct probe *p);
void row_a33(struct probe *p);
void row_a34(struct probe *p);
void row_a35(struct probe *p);
void row_a38(struct probe *p);
void row_a39(struct probe *p);
void row_a40(struct probe *p);
void row_a41(struct probe *p);
void row_a42(struct probe *p);
void row_a43(struct probe *p);
void row_a44(struct probe *p);
void row_a45(struct probe *p);

#endif
