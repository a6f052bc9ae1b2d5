/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What pcscd is told of each result, checked against what pcscd does with the code: the rows are the situations that a
 * client can tell apart.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "ifdhandler/results.h"

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

static void success_is_success_for_every_call(void **state)
{
    (void)state;
    for (int c = 0; c < CALL_COUNT; c++)
        assert_int_equal(ifd_code(R_SUCCESS, (enum ifd_call)c, false), c == CALL_PRESENCE ? IFD_ICC_PRESENT : IFD_SUCCESS);
}

static void no_failure_is_taken_for_a_success(void **state)
{
    (void)state;
    for (int r = R_CARD - 3; r < R_SUCCESS; r++)
        for (int c = 0; c < CALL_COUNT; c++)
            for (int told = 0; told < 2; told++) {
                RESPONSECODE code = ifd_code((enum result)r, (enum ifd_call)c, told);

                assert_int_not_equal(code, IFD_SUCCESS);
                assert_int_not_equal(code, IFD_ICC_PRESENT);
            }
}

/* A presence call that fails in passing would show the reader as "unknown" to clients. */
static void presence_is_a_card_or_none(void **state)
{
    (void)state;
    for (int r = R_CARD; r < R_SUCCESS; r++)
        if (r != R_GONE)
            assert_int_equal(ifd_code((enum result)r, CALL_PRESENCE, false), IFD_ICC_NOT_PRESENT);
}

static void a_reader_that_is_gone_is_said_once(void **state)
{
    (void)state;
    for (int c = 0; c < CALL_COUNT; c++) {
        if (c != CALL_PRESENCE)
            assert_int_equal(ifd_code(R_GONE, (enum ifd_call)c, false), IFD_NO_SUCH_DEVICE);
        assert_int_not_equal(ifd_code(R_GONE, (enum ifd_call)c, true), IFD_NO_SUCH_DEVICE);
    }
    /* Nor a removal: results.c says what pcscd would make of it. */
    assert_int_equal(ifd_code(R_GONE, CALL_PRESENCE, false), IFD_COMMUNICATION_ERROR);
    assert_int_equal(ifd_code(R_GONE, CALL_PRESENCE, true), IFD_COMMUNICATION_ERROR);
    assert_int_equal(ifd_code(R_GONE, CALL_TRANSMIT, true), IFD_ICC_NOT_PRESENT);
    assert_int_equal(ifd_code(R_GONE, CALL_CONTROL, true), IFD_COMMUNICATION_ERROR);
}

/* pcscd sends itself a signal and sleeps for it; nothing but an absent reader deserves that. */
static void only_a_missing_reader_is_no_such_device(void **state)
{
    (void)state;
    for (int r = R_CARD; r < R_SUCCESS; r++)
        for (int c = 0; c < CALL_COUNT; c++)
            if (r != R_GONE && !(c == CALL_OPEN && r == R_NOT_SUPPORTED))
                assert_int_not_equal(ifd_code((enum result)r, (enum ifd_call)c, false), IFD_NO_SUCH_DEVICE);
}

static const struct {
    enum ifd_call call;
    enum result result;
    RESPONSECODE code;
} situations[] = {
    {CALL_OPEN, R_NOT_SUPPORTED, IFD_NO_SUCH_DEVICE}, /* another interface of a composite device: quiet in pcscd */
    {CALL_OPEN, R_SYSTEM, IFD_COMMUNICATION_ERROR},
    {CALL_OPEN, R_INVALID, IFD_COMMUNICATION_ERROR},
    {CALL_CLOSE, R_INVALID, IFD_COMMUNICATION_ERROR},
    {CALL_ATTRIBUTE, R_NOT_SUPPORTED, IFD_ERROR_TAG},
    {CALL_ATTRIBUTE, R_SPACE, IFD_ERROR_INSUFFICIENT_BUFFER},
    {CALL_ATTRIBUTE, R_INVALID, IFD_ERROR_SET_FAILURE},
    {CALL_POWER, R_POWER, IFD_ERROR_POWER_ACTION}, /* a mute card */
    {CALL_POWER, R_TIMEOUT, IFD_ERROR_POWER_ACTION},
    {CALL_POWER, R_NO_CARD, IFD_ICC_NOT_PRESENT},
    {CALL_POWER, R_NOT_SUPPORTED, IFD_NOT_SUPPORTED},
    {CALL_PROTOCOL, R_PROTOCOL, IFD_PROTOCOL_NOT_SUPPORTED}, /* pcscd goes on with the other */
    {CALL_PROTOCOL, R_NOT_SUPPORTED, IFD_PROTOCOL_NOT_SUPPORTED},
    {CALL_PROTOCOL, R_NO_CARD, IFD_ICC_NOT_PRESENT},
    {CALL_PROTOCOL, R_COMM, IFD_ERROR_PTS_FAILURE}, /* do not go on with the card */
    {CALL_PROTOCOL, R_TIMEOUT, IFD_ERROR_PTS_FAILURE},
    {CALL_TRANSMIT, R_NO_CARD, IFD_ICC_NOT_PRESENT}, /* SCARD_E_NO_SMARTCARD, empty at once */
    {CALL_TRANSMIT, R_TIMEOUT, IFD_RESPONSE_TIMEOUT},
    {CALL_TRANSMIT, R_SPACE, IFD_ERROR_INSUFFICIENT_BUFFER},
    {CALL_TRANSMIT, R_PROTOCOL, IFD_PROTOCOL_NOT_SUPPORTED},
    {CALL_TRANSMIT, R_INVALID, IFD_COMMUNICATION_ERROR}, /* an empty APDU: NOT_TRANSACTED, as libccid */
    {CALL_TRANSMIT, R_CARD, IFD_COMMUNICATION_ERROR},
    {CALL_TRANSMIT, R_CANCELLED, IFD_COMMUNICATION_ERROR},
    {CALL_CONTROL, R_NOT_SUPPORTED, IFD_ERROR_NOT_SUPPORTED}, /* SCARD_E_UNSUPPORTED_FEATURE */
    {CALL_CONTROL, R_DENIED, IFD_ERROR_NOT_SUPPORTED},
    {CALL_CONTROL, R_SPACE, IFD_ERROR_INSUFFICIENT_BUFFER}, /* SCARD_E_INSUFFICIENT_BUFFER */
    {CALL_CONTROL, R_TIMEOUT, IFD_RESPONSE_TIMEOUT},
};

static void each_situation_has_the_code_that_pcscd_reads(void **state)
{
    (void)state;
    for (size_t i = 0; i < LEN(situations); i++)
        assert_int_equal(ifd_code(situations[i].result, situations[i].call, false), situations[i].code);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(success_is_success_for_every_call),
        cmocka_unit_test(no_failure_is_taken_for_a_success),
        cmocka_unit_test(presence_is_a_card_or_none),
        cmocka_unit_test(a_reader_that_is_gone_is_said_once),
        cmocka_unit_test(only_a_missing_reader_is_no_such_device),
        cmocka_unit_test(each_situation_has_the_code_that_pcscd_reads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
