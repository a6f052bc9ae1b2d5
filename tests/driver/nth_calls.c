/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The functions that fail on demand; see nth_calls.h.
 *
 * The real ones of libc are those behind this program (the simulator's preload library among them), those of libusb and
 * libserialport what the driver's own dependencies bring. A failure is what the function's description has: nothing was
 * done and the error is told; but what ends something (close, release) has ended it all the same.
 */
#include "nth_calls.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <libserialport.h>
#include <libusb.h>
#include <link.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

/* Their fortified forms would be inline functions here. */
#undef poll
#undef read
#undef open
#undef realpath
#undef readlink

/* name, result of a failure, errno or 0 */
#define USB_CALLS(X)                                                                                                   \
    X(libusb_init) X(libusb_get_device_list) X(libusb_get_device_descriptor) X(libusb_open)                            \
    X(libusb_get_string_descriptor_ascii) X(libusb_get_active_config_descriptor) X(libusb_get_config_descriptor)       \
    X(libusb_set_configuration) X(libusb_set_auto_detach_kernel_driver) X(libusb_claim_interface)                      \
    X(libusb_release_interface) X(libusb_alloc_transfer) X(libusb_submit_transfer) X(libusb_cancel_transfer)           \
    X(libusb_clear_halt) X(libusb_handle_events_timeout_completed) X(libusb_reset_device)
#define SERIAL_CALLS(X)                                                                                                \
    X(sp_get_port_by_name) X(sp_open) X(sp_get_port_handle) X(sp_new_config) X(sp_set_config_baudrate)                 \
    X(sp_set_config_bits) X(sp_set_config_parity) X(sp_set_config_stopbits) X(sp_set_config_flowcontrol)               \
    X(sp_set_config_rts) X(sp_set_config_dtr) X(sp_set_config) X(sp_set_baudrate) X(sp_flush) X(sp_close)              \
    X(sp_get_port_usb_vid_pid) X(sp_get_port_usb_serial) X(sp_get_port_usb_product) X(sp_nonblocking_read)             \
    X(sp_nonblocking_write) X(sp_input_waiting)
#define SYSTEM_CALLS(X)                                                                                                \
    X(malloc) X(calloc) X(realloc) X(realpath) X(__realpath_chk) X(pthread_create) X(pthread_mutex_init)               \
    X(pthread_cond_init) X(pthread_condattr_init) X(pthread_condattr_setclock) X(pthread_setname_np) X(eventfd)        \
    X(eventfd_read) X(eventfd_write) X(poll) X(open) X(read) X(fstat) X(access) X(readlink) X(flock) X(ioctl) X(close)
/* These are no functions: the same call with another error, and the memory that libraries ask for. */
#define OTHER_KINDS(X) X(libusb_submit_transfer_gone) X(libusb_claim_interface_busy) X(libusb_allocates) X(sp_allocates)
#define ALL(X)         USB_CALLS(X) SERIAL_CALLS(X) SYSTEM_CALLS(X) OTHER_KINDS(X)

#define ENUM(name) K_##name,
enum kind { ALL(ENUM) KINDS };
#define NAME(name) #name,
static const char *const NAMES[] = {ALL(NAME)};

enum owner { OTHERS, DRIVER, LIBUSB, LIBSERIALPORT, OWNERS };

static struct range {
    uintptr_t from, to;
} ranges[OWNERS];
static void *driver;

static struct {
    atomic_size_t kind;
    atomic_uint n; /* 0: none */
    atomic_bool hit;
    atomic_uint count[KINDS];
} armed;

size_t nth_kinds(void)
{
    return KINDS;
}

const char *nth_kind_name(size_t kind)
{
    return NAMES[kind];
}

bool nth_find_kind(const char *name, size_t *kind)
{
    for (*kind = 0; *kind < KINDS; ++*kind)
        if (strcmp(NAMES[*kind], name) == 0)
            return true;
    return false;
}

void nth_arm(size_t kind, unsigned n)
{
    for (size_t i = 0; i < KINDS; i++)
        atomic_store(&armed.count[i], 0);
    atomic_store(&armed.hit, false);
    atomic_store(&armed.kind, kind);
    atomic_store(&armed.n, n);
}

bool nth_disarm(void)
{
    atomic_store(&armed.n, 0);
    return atomic_load(&armed.hit);
}

unsigned nth_count(size_t kind)
{
    return atomic_load(&armed.count[kind]);
}

/* ---- who calls -------------------------------------------------------------------------------------------------- */

static int learn(struct dl_phdr_info *info, size_t size, void *arg)
{
    static const char *const FILES[OWNERS] = {NULL, "/libifdpurse", "/libusb-1.0.so", "/libserialport.so"};

    (void)size;
    (void)arg;
    for (int i = DRIVER; i < OWNERS; i++) {
        if (!strstr(info->dlpi_name, FILES[i]))
            continue;
        for (int k = 0; k < info->dlpi_phnum; k++) {
            const ElfW(Phdr) *p = &info->dlpi_phdr[k];

            if (p->p_type == PT_LOAD && p->p_flags & PF_X)
                ranges[i] = (struct range){info->dlpi_addr + p->p_vaddr, info->dlpi_addr + p->p_vaddr + p->p_memsz};
        }
    }
    return 0;
}

void nth_know(void *handle)
{
    driver = handle;
    (void)dl_iterate_phdr(learn, NULL);
}

static enum owner owner_of(const void *caller)
{
    uintptr_t at = (uintptr_t)caller;

    for (int i = DRIVER; i < OWNERS; i++)
        if (at >= ranges[i].from && at < ranges[i].to)
            return (enum owner)i;
    return OTHERS;
}

/* Counts one call; true: it is the one to fail. */
static bool counted(enum kind kind)
{
    unsigned at = atomic_fetch_add(&armed.count[kind], 1) + 1;

    if (atomic_load(&armed.n) != at || atomic_load(&armed.kind) != kind)
        return false;
    atomic_store(&armed.hit, true);
    return true;
}

static bool fails(enum kind kind, const void *caller)
{
    return owner_of(caller) == DRIVER && counted(kind);
}

/* ---- memory ----------------------------------------------------------------------------------------------------- */

/* libc's, or the sanitizer's where one has taken their place. This file is compiled without it, for some of these are
 * called before it is ready. */
#define REAL(name) (__interceptor_##name ? __interceptor_##name : __libc_##name)
extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t n);
extern void __libc_free(void *p);
#pragma weak __interceptor_malloc
#pragma weak __interceptor_calloc
#pragma weak __interceptor_realloc
#pragma weak __interceptor_free
extern void *__interceptor_malloc(size_t n);
extern void *__interceptor_calloc(size_t n, size_t size);
extern void *__interceptor_realloc(void *p, size_t n);
extern void __interceptor_free(void *p);

/* The blocks of the driver and its libraries: a hash table by address, linear probing, removed entries leave a mark. */
enum { BLOCKS = 1 << 14 };
#define REMOVED ((void *)1)
static struct block {
    void *at;
    enum owner owner;
} blocks[BLOCKS];
static unsigned long block_count[OWNERS]; /* OTHERS: all */
static atomic_flag blocks_lock = ATOMIC_FLAG_INIT;

static size_t place(const void *p)
{
    return ((uintptr_t)p >> 4) * 2654435761u % BLOCKS;
}

static void *track(void *p, enum owner owner)
{
    if (!p || owner == OTHERS)
        return p;
    while (atomic_flag_test_and_set(&blocks_lock))
        ;
    size_t i = place(p), left = BLOCKS;
    while (left-- > 0 && blocks[i].at && blocks[i].at != REMOVED)
        i = (i + 1) % BLOCKS;
    blocks[i] = (struct block){p, owner};
    block_count[owner]++;
    block_count[OTHERS]++;
    atomic_flag_clear(&blocks_lock);
    return p;
}

static atomic_bool wipe_others;

void nth_wipe_others(void)
{
    atomic_store(&wipe_others, true);
}

/* A block is given back. */
static void forget(void *p)
{
    bool ours = false;

    if (!p)
        return;
    while (atomic_flag_test_and_set(&blocks_lock))
        ;
    for (size_t i = place(p), left = BLOCKS; left-- > 0 && blocks[i].at; i = (i + 1) % BLOCKS)
        if (blocks[i].at == p) {
            ours = true;
            blocks[i].at = REMOVED;
            block_count[blocks[i].owner]--;
            if (--block_count[OTHERS] == 0)
                memset(blocks, 0, sizeof blocks);
            break;
        }
    atomic_flag_clear(&blocks_lock);
    if (!ours && atomic_load(&wipe_others))
        explicit_bzero(p, malloc_usable_size(p));
}

unsigned long nth_blocks(bool driver_alone)
{
    return block_count[driver_alone ? DRIVER : OTHERS];
}

static bool memory_fails(enum kind kind, enum owner owner)
{
    if (owner == OTHERS)
        return false;
    if (!counted(owner == DRIVER ? kind : owner == LIBUSB ? K_libusb_allocates : K_sp_allocates))
        return false;
    errno = ENOMEM;
    return true;
}

#pragma GCC visibility push(default)

void *malloc(size_t n)
{
    enum owner owner = owner_of(__builtin_return_address(0));

    return memory_fails(K_malloc, owner) ? NULL : track((REAL(malloc))(n), owner);
}

void *calloc(size_t n, size_t size)
{
    enum owner owner = owner_of(__builtin_return_address(0));

    return memory_fails(K_calloc, owner) ? NULL : track(REAL(calloc)(n, size), owner);
}

void *realloc(void *p, size_t n)
{
    enum owner owner = owner_of(__builtin_return_address(0));

    if (memory_fails(K_realloc, owner))
        return NULL;
    if (p && n > 0 && atomic_load(&wipe_others)) { /* the old place is wiped as after free() */
        void *moved = track((REAL(malloc))(n), owner);
        size_t had = malloc_usable_size(p);

        if (moved) {
            memcpy(moved, p, had < n ? had : n);
            free(p);
        }
        return moved;
    }
    forget(p);
    return track(REAL(realloc)(p, n), owner);
}

void free(void *p)
{
    forget(p);
    REAL(free)(p);
}

/* ---- a call passed on or failed --------------------------------------------------------------------------------- */

#define LIBC_CALL(name)    dlsym(RTLD_NEXT, #name)
#define LIBRARY_CALL(name) dlsym(driver, #name)

/* A function `result name params`, which gives `failure` when it is to fail. */
#define CALL(where, result, name, params, args, failure)                                                               \
    result name params                                                                                                 \
    {                                                                                                                  \
        static result(*real) params;                                                                                   \
                                                                                                                       \
        if (!real)                                                                                                     \
            *(void **)&real = where(name);                                                                             \
        if (fails(K_##name, __builtin_return_address(0)))                                                              \
            return failure;                                                                                            \
        return real args;                                                                                              \
    }
#define USB(name, params, args, failure)             CALL(LIBRARY_CALL, int, name, params, args, failure)
#define SERIAL(name, params, args, failure)          CALL(LIBRARY_CALL, enum sp_return, name, params, args, failure)
#define SYSTEM(result, name, params, args, failure)  CALL(LIBC_CALL, result, name, params, args, failure)
#define WITH(error, value)                           (errno = (error), (value))

USB(libusb_init, (libusb_context **c), (c), LIBUSB_ERROR_NO_MEM)
CALL(LIBRARY_CALL, ssize_t, libusb_get_device_list, (libusb_context *c, libusb_device ***list), (c, list),
     LIBUSB_ERROR_NO_MEM)
USB(libusb_get_device_descriptor, (libusb_device *d, struct libusb_device_descriptor *out), (d, out), LIBUSB_ERROR_IO)
USB(libusb_open, (libusb_device *d, libusb_device_handle **h), (d, h), LIBUSB_ERROR_NO_MEM)
USB(libusb_get_string_descriptor_ascii, (libusb_device_handle *h, uint8_t i, unsigned char *text, int n),
    (h, i, text, n), LIBUSB_ERROR_PIPE)
USB(libusb_get_active_config_descriptor, (libusb_device *d, struct libusb_config_descriptor **c), (d, c),
    LIBUSB_ERROR_NOT_FOUND)
USB(libusb_get_config_descriptor, (libusb_device *d, uint8_t i, struct libusb_config_descriptor **c), (d, i, c),
    LIBUSB_ERROR_IO)
USB(libusb_set_configuration, (libusb_device_handle *h, int c), (h, c), LIBUSB_ERROR_BUSY)
USB(libusb_set_auto_detach_kernel_driver, (libusb_device_handle *h, int on), (h, on), LIBUSB_ERROR_NOT_SUPPORTED)
USB(libusb_release_interface, (libusb_device_handle *h, int i), (h, i), (real(h, i), LIBUSB_ERROR_OTHER))
CALL(LIBRARY_CALL, struct libusb_transfer *, libusb_alloc_transfer, (int n), (n), NULL)
USB(libusb_cancel_transfer, (struct libusb_transfer *t), (t), LIBUSB_ERROR_OTHER)
USB(libusb_clear_halt, (libusb_device_handle *h, unsigned char e), (h, e), LIBUSB_ERROR_OTHER)
USB(libusb_handle_events_timeout_completed, (libusb_context *c, struct timeval *tv, int *done), (c, tv, done),
    LIBUSB_ERROR_IO)
USB(libusb_reset_device, (libusb_device_handle *h), (h), LIBUSB_ERROR_OTHER)

int libusb_submit_transfer(struct libusb_transfer *t)
{
    static int (*real)(struct libusb_transfer *);

    if (!real)
        *(void **)&real = LIBRARY_CALL(libusb_submit_transfer);
    if (fails(K_libusb_submit_transfer, __builtin_return_address(0)))
        return LIBUSB_ERROR_IO;
    return fails(K_libusb_submit_transfer_gone, __builtin_return_address(0)) ? LIBUSB_ERROR_NO_DEVICE : real(t);
}

int libusb_claim_interface(libusb_device_handle *h, int i)
{
    static int (*real)(libusb_device_handle *, int);

    if (!real)
        *(void **)&real = LIBRARY_CALL(libusb_claim_interface);
    if (fails(K_libusb_claim_interface, __builtin_return_address(0)))
        return LIBUSB_ERROR_NO_DEVICE;
    return fails(K_libusb_claim_interface_busy, __builtin_return_address(0)) ? LIBUSB_ERROR_BUSY : real(h, i);
}

SERIAL(sp_get_port_by_name, (const char *name, struct sp_port **p), (name, p), SP_ERR_MEM)
SERIAL(sp_open, (struct sp_port * p, enum sp_mode m), (p, m), WITH(EIO, SP_ERR_FAIL))
SERIAL(sp_get_port_handle, (const struct sp_port *p, void *h), (p, h), SP_ERR_ARG)
SERIAL(sp_new_config, (struct sp_port_config * *c), (c), SP_ERR_MEM)
SERIAL(sp_set_config_baudrate, (struct sp_port_config * c, int v), (c, v), SP_ERR_ARG)
SERIAL(sp_set_config_bits, (struct sp_port_config * c, int v), (c, v), SP_ERR_ARG)
SERIAL(sp_set_config_parity, (struct sp_port_config * c, enum sp_parity v), (c, v), SP_ERR_ARG)
SERIAL(sp_set_config_stopbits, (struct sp_port_config * c, int v), (c, v), SP_ERR_ARG)
SERIAL(sp_set_config_flowcontrol, (struct sp_port_config * c, enum sp_flowcontrol v), (c, v), SP_ERR_ARG)
SERIAL(sp_set_config_rts, (struct sp_port_config * c, enum sp_rts v), (c, v), SP_ERR_ARG)
SERIAL(sp_set_config_dtr, (struct sp_port_config * c, enum sp_dtr v), (c, v), SP_ERR_ARG)
SERIAL(sp_set_config, (struct sp_port * p, const struct sp_port_config *c), (p, c), WITH(EINVAL, SP_ERR_FAIL))
SERIAL(sp_set_baudrate, (struct sp_port * p, int v), (p, v), WITH(EIO, SP_ERR_FAIL))
SERIAL(sp_flush, (struct sp_port * p, enum sp_buffer b), (p, b), WITH(EIO, SP_ERR_FAIL))
SERIAL(sp_close, (struct sp_port * p), (p), ((void)real(p), WITH(EIO, SP_ERR_FAIL)))
SERIAL(sp_get_port_usb_vid_pid, (const struct sp_port *p, int *v, int *i), (p, v, i), SP_ERR_SUPP)
CALL(LIBRARY_CALL, char *, sp_get_port_usb_serial, (const struct sp_port *p), (p), NULL)
CALL(LIBRARY_CALL, char *, sp_get_port_usb_product, (const struct sp_port *p), (p), NULL)
SERIAL(sp_nonblocking_read, (struct sp_port * p, void *b, size_t n), (p, b, n), WITH(EIO, SP_ERR_FAIL))
SERIAL(sp_nonblocking_write, (struct sp_port * p, const void *b, size_t n), (p, b, n), WITH(EIO, SP_ERR_FAIL))
SERIAL(sp_input_waiting, (struct sp_port * p), (p), WITH(EIO, SP_ERR_FAIL))

SYSTEM(int, pthread_create, (pthread_t * t, const pthread_attr_t *a, void *(*f)(void *), void *arg), (t, a, f, arg),
       EAGAIN)
SYSTEM(int, pthread_mutex_init, (pthread_mutex_t * m, const pthread_mutexattr_t *a), (m, a), ENOMEM)
SYSTEM(int, pthread_cond_init, (pthread_cond_t * c, const pthread_condattr_t *a), (c, a), ENOMEM)
SYSTEM(int, pthread_condattr_init, (pthread_condattr_t * a), (a), ENOMEM)
SYSTEM(int, pthread_condattr_setclock, (pthread_condattr_t * a, clockid_t c), (a, c), EINVAL)
SYSTEM(int, pthread_setname_np, (pthread_t t, const char *name), (t, name), ERANGE)
SYSTEM(int, eventfd, (unsigned n, int flags), (n, flags), WITH(EMFILE, -1))
SYSTEM(int, eventfd_read, (int fd, eventfd_t *n), (fd, n), WITH(EAGAIN, -1))
SYSTEM(int, eventfd_write, (int fd, eventfd_t n), (fd, n), WITH(EIO, -1))
SYSTEM(int, poll, (struct pollfd * p, nfds_t n, int ms), (p, n, ms), WITH(ENOMEM, -1))
SYSTEM(ssize_t, read, (int fd, void *b, size_t n), (fd, b, n), WITH(EIO, -1))
SYSTEM(int, fstat, (int fd, struct stat *st), (fd, st), WITH(EIO, -1))
SYSTEM(int, access, (const char *path, int mode), (path, mode), WITH(EIO, -1))
SYSTEM(ssize_t, readlink, (const char *path, char *b, size_t n), (path, b, n), WITH(EIO, -1))
SYSTEM(int, flock, (int fd, int what), (fd, what), WITH(ENOLCK, -1))
SYSTEM(int, close, (int fd), (fd), ((void)real(fd), WITH(EIO, -1)))

/* The block that it gives belongs to its caller. */
char *realpath(const char *path, char *out)
{
    static char *(*real)(const char *, char *);
    const void *caller = __builtin_return_address(0);

    if (!real)
        *(void **)&real = LIBC_CALL(realpath);
    if (fails(K_realpath, caller))
        return WITH(ENOMEM, NULL);
    return out ? real(path, out) : track(real(path, NULL), owner_of(caller));
}

char *__realpath_chk(const char *path, char *out, size_t n);
char *__realpath_chk(const char *path, char *out, size_t n)
{
    static char *(*real)(const char *, char *, size_t);

    if (!real)
        *(void **)&real = LIBC_CALL(__realpath_chk);
    return fails(K___realpath_chk, __builtin_return_address(0)) ? WITH(ENOMEM, NULL) : real(path, out, n);
}

int open(const char *path, int flags, ...)
{
    static int (*real)(const char *, int, ...);
    mode_t mode = 0;
    va_list ap;

    va_start(ap, flags);
    if (flags & (O_CREAT | O_TMPFILE))
        mode = va_arg(ap, mode_t);
    va_end(ap);
    if (!real)
        *(void **)&real = LIBC_CALL(open);
    return fails(K_open, __builtin_return_address(0)) ? WITH(EMFILE, -1) : real(path, flags, mode);
}

int ioctl(int fd, unsigned long request, ...)
{
    static int (*real)(int, unsigned long, ...);
    void *arg;
    va_list ap;

    va_start(ap, request);
    arg = va_arg(ap, void *);
    va_end(ap);
    if (!real)
        *(void **)&real = LIBC_CALL(ioctl);
    return fails(K_ioctl, __builtin_return_address(0)) ? WITH(ENOTTY, -1) : real(fd, request, arg);
}

#pragma GCC visibility pop
