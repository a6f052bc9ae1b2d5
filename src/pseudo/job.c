/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What all operations on cards have in common: the way from a family's result to a status word, the card that has to be
 * selected again, and authentication.
 *
 * Authentication is the card's own: it holds for one sector, and only until the card is selected again or another
 * sector is authenticated. The family counts selections; an authentication is good as long as the count is the one that
 * was noted with it. The key is kept with it, for a card that refused a value command has to be asked what happened,
 * and that takes the key once more.
 */
#include "pseudo/job.h"

#include <string.h>
#include "pseudo/decode.h"

enum result job_answer(struct job *j, uint16_t sw)
{
    j->a->sw = sw;
    return R_SUCCESS;
}

enum result job_facts(struct job *j)
{
    return j->ops->facts(j->reader, j->index, &j->facts);
}

/* ---- what becomes of a failure ---------------------------------------------------------------------------------- */

static const struct {
    enum result result;
    uint16_t sw;
} status_words[] = {
    {R_CARD, SW_FAILED},  {R_NOT_SUPPORTED, SW_NOT_SUPPORTED}, {R_DENIED, SW_SECURITY}, {R_INVALID, SW_WRONG_DATA},
    {R_SPACE, SW_LENGTH},
};

enum result job_reselect(struct job *j)
{
    enum result r = j->ops->reselect ? j->ops->reselect(j->reader, j->index, j->until) : R_NOT_SUPPORTED;

    job_forget_authentication(j);
    if (r == R_SUCCESS)
        r = job_facts(j);
    return r;
}

/* A card that refused is selected again and stays. One that fell silent has lost its session even if it answers again:
 * nobody can tell what happened to it meanwhile. */
enum result job_result(struct job *j, enum result r)
{
    if (r == R_CARD || r == R_NO_CARD) {
        enum result again = job_reselect(j);

        if (again != R_SUCCESS && again != R_NOT_SUPPORTED)
            return again == R_GONE || again == R_CANCELLED ? again : R_NO_CARD;
        if (r == R_NO_CARD) {
            slot_lost(j->slot->device, j->index);
            return R_NO_CARD;
        }
    }
    if (r == R_PROTOCOL)
        return R_NO_CARD;
    for (size_t i = 0; i < sizeof status_words / sizeof status_words[0]; i++)
        if (status_words[i].result == r)
            return job_answer(j, status_words[i].sw);
    return r;
}

/* ---- authentication ------------------------------------------------------------------------------------------------
 */

bool job_authenticated(const struct job *j, unsigned block)
{
    return j->session->auth.valid && j->session->auth.selection == j->facts.selection &&
           j->session->auth.sector == mifare_sector(block);
}

void job_forget_authentication(struct job *j)
{
    explicit_bzero(&j->session->auth, sizeof j->session->auth);
    j->session->purse_key.valid = false;
}

enum result job_authenticate(struct job *j, unsigned block, uint8_t key_type, const uint8_t key[STORAGE_KEY_SIZE])
{
    struct storage_session *s = j->session;
    uint8_t access[3] = {0};
    enum result r;

    job_forget_authentication(j);
    if (!j->ops->authenticate)
        return R_NOT_SUPPORTED;
    r = j->ops->authenticate(j->reader, j->index, block, key_type, key, access, j->until);
    if (r != R_SUCCESS)
        return r;
    s->auth.valid = s->purse_key.valid = true;
    s->auth.selection = s->purse_key.selection = j->facts.selection;
    s->auth.sector = mifare_sector(block);
    s->auth.key_type = key_type;
    memcpy(s->auth.key, key, sizeof s->auth.key);
    memcpy(s->auth.access, access, sizeof s->auth.access);
    return R_SUCCESS;
}

enum result job_recover(struct job *j, unsigned block)
{
    uint8_t key_type = j->session->auth.key_type, key[STORAGE_KEY_SIZE];
    enum result r;

    if (!j->session->auth.valid)
        return R_CARD;
    memcpy(key, j->session->auth.key, sizeof key);
    r = job_reselect(j);
    if (r == R_SUCCESS)
        r = job_authenticate(j, block, key_type, key);
    explicit_bzero(key, sizeof key);
    return r;
}

uint16_t job_may(const struct job *j, unsigned block, enum mifare_use use)
{
    const uint8_t *access = j->session->auth.access;
    unsigned mine = j->session->auth.key_type == 0x60 ? MIFARE_BY_A : MIFARE_BY_B, allowed;

    if (!job_authenticated(j, block))
        return SW_SECURITY;
    if (!mifare_access_valid(access) || mifare_is_trailer(block))
        return DECODED;
    allowed = mifare_allowed(access, block, use);
    if (allowed & mine)
        return DECODED;
    return allowed ? SW_SECURITY : SW_NOT_ALLOWED;
}
