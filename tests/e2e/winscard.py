# SPDX-License-Identifier: LGPL-2.1-or-later
"""The PC/SC client library, as it is.

The tests call libpcsclite itself, not through a wrapper: they have to choose the sizes of buffers, see every code, and
wait in one thread while another goes on (ctypes lets go of the interpreter during a call). Every function that fails
raises Failed with the code; nothing is tried again behind the test's back.

libpcsclite remembers the daemon's socket from the first call on: one process, one socket path (rig.py).
"""
import ctypes
import time
from ctypes import POINTER, byref, c_char_p, c_long, c_ubyte, c_ulong, c_void_p

CODES = {
    0x80100004: "SCARD_E_INVALID_PARAMETER", 0x80100008: "SCARD_E_INSUFFICIENT_BUFFER",
    0x80100009: "SCARD_E_UNKNOWN_READER", 0x8010000A: "SCARD_E_TIMEOUT", 0x8010000B: "SCARD_E_SHARING_VIOLATION",
    0x8010000C: "SCARD_E_NO_SMARTCARD", 0x8010000F: "SCARD_E_PROTO_MISMATCH", 0x80100013: "SCARD_F_COMM_ERROR",
    0x80100016: "SCARD_E_NOT_TRANSACTED", 0x80100017: "SCARD_E_READER_UNAVAILABLE",
    0x8010001D: "SCARD_E_NO_SERVICE", 0x8010001E: "SCARD_E_SERVICE_STOPPED",
    0x8010001F: "SCARD_E_UNSUPPORTED_FEATURE", 0x8010002E: "SCARD_E_NO_READERS_AVAILABLE",
    0x80100003: "SCARD_E_INVALID_HANDLE", 0x80100011: "SCARD_E_INVALID_VALUE", 0x80100002: "SCARD_E_CANCELLED",
    0x80100066: "SCARD_W_UNRESPONSIVE_CARD", 0x80100067: "SCARD_W_UNPOWERED_CARD",
    0x80100068: "SCARD_W_RESET_CARD", 0x80100069: "SCARD_W_REMOVED_CARD",
}
for _code, _name in CODES.items():
    globals()[_name] = _code

SHARE_EXCLUSIVE, SHARE_SHARED, SHARE_DIRECT = 1, 2, 3
T0, T1, RAW = 1, 2, 4
LEAVE, RESET, UNPOWER, EJECT = 0, 1, 2, 3
STATE_UNAWARE, STATE_CHANGED, STATE_UNKNOWN, STATE_UNAVAILABLE = 0, 2, 4, 8
STATE_EMPTY, STATE_PRESENT, STATE_EXCLUSIVE, STATE_INUSE, STATE_MUTE, STATE_UNPOWERED = 16, 32, 128, 256, 512, 1024
STATUS_ABSENT, STATUS_PRESENT, STATUS_SWALLOWED, STATUS_POWERED, STATUS_NEGOTIABLE, STATUS_SPECIFIC = 2, 4, 8, 16, 32, 64
ATTR_ATR, ATTR_VENDOR_NAME, ATTR_VENDOR_TYPE, ATTR_VENDOR_VERSION = 0x90303, 0x10100, 0x10101, 0x10102
ATTR_VENDOR_SERIAL, ATTR_CHANNEL_ID, ATTR_MAXINPUT = 0x10103, 0x20110, 0x7A007
ATTR_ICC_PRESENCE, ATTR_ICC_STATUS, ATTR_PROTOCOL_TYPE = 0x90300, 0x90301, 0x80201
GET_FEATURES, GET_FEATURES_WINDOWS, TLV_PROPERTIES = 0x42000D48, 0x313520, 0x42330012
ESCAPE, ESCAPE_3500 = 0x42000001, 0x42000DAC
PNP = "\\\\?PnP?\\Notification"
BUFFER = 65548 + 4096


class Failed(Exception):
    def __init__(self, call, code):
        self.code = code
        super().__init__("%s: %08X %s" % (call, code, CODES.get(code, "")))


class ReaderState(ctypes.Structure):
    _fields_ = [("reader", c_char_p), ("user", c_void_p), ("current", c_ulong), ("event", c_ulong),
                ("atr_len", c_ulong), ("atr", c_ubyte * 33)]


class IoRequest(ctypes.Structure):
    _fields_ = [("protocol", c_ulong), ("length", c_ulong)]


_lib = None


def _call(name, *args):
    global _lib
    if _lib is None:
        _lib = ctypes.CDLL("libpcsclite.so.1")
    function = getattr(_lib, name)
    function.restype = c_long
    code = function(*args) & 0xFFFFFFFF
    if code:
        raise Failed(name, code)


def hexa(data):
    return bytes(data).hex(" ").upper()


class Card:
    """One connection."""

    def __init__(self, context, reader, share, protocols):
        self.handle, active = c_long(), c_ulong()
        _call("SCardConnect", context.handle, reader.encode(), c_ulong(share), c_ulong(protocols), byref(self.handle),
              byref(active))
        self.protocol = active.value

    def transmit(self, apdu, room=BUFFER, protocol=None):
        if isinstance(apdu, str):
            apdu = bytes.fromhex(apdu)
        pci = IoRequest(self.protocol if protocol is None else protocol, ctypes.sizeof(IoRequest))
        out, n = (c_ubyte * max(room, 1))(), c_ulong(room)
        _call("SCardTransmit", self.handle, byref(pci), bytes(apdu), c_ulong(len(apdu)), None, out, byref(n))
        return bytes(out[:n.value])

    def control(self, code, data=b"", room=BUFFER):
        if isinstance(data, str):
            data = bytes.fromhex(data)
        out, n = (c_ubyte * max(room, 1))(), c_ulong()
        _call("SCardControl", self.handle, c_ulong(code), bytes(data), c_ulong(len(data)), out, c_ulong(room), byref(n))
        return bytes(out[:n.value])

    def attribute(self, tag, room=264):
        out, n = (c_ubyte * max(room, 1))(), c_ulong(room)
        _call("SCardGetAttrib", self.handle, c_ulong(tag), out, byref(n))
        return bytes(out[:n.value])

    def status(self):
        """state, protocol, ATR"""
        name, name_n = ctypes.create_string_buffer(256), c_ulong(256)
        state, protocol, atr, atr_n = c_ulong(), c_ulong(), (c_ubyte * 33)(), c_ulong(33)
        _call("SCardStatus", self.handle, name, byref(name_n), byref(state), byref(protocol), atr, byref(atr_n))
        return state.value & 0xFFFF, protocol.value, bytes(atr[:atr_n.value])

    def reconnect(self, share=SHARE_SHARED, protocols=T0 | T1, initialization=LEAVE):
        active = c_ulong()
        _call("SCardReconnect", self.handle, c_ulong(share), c_ulong(protocols), c_ulong(initialization), byref(active))
        self.protocol = active.value

    def begin(self):
        _call("SCardBeginTransaction", self.handle)

    def end(self, disposition=LEAVE):
        _call("SCardEndTransaction", self.handle, c_ulong(disposition))

    def disconnect(self, disposition=LEAVE):
        _call("SCardDisconnect", self.handle, c_ulong(disposition))

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        try:
            self.disconnect()
        except Failed:
            pass  # a test that cares disconnects itself


class Context:
    def __init__(self):
        self.handle = c_long()
        _call("SCardEstablishContext", c_ulong(2), None, None, byref(self.handle))

    def release(self):
        _call("SCardReleaseContext", self.handle)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        try:
            self.release()
        except Failed:
            pass

    def readers(self):
        names, n = ctypes.create_string_buffer(16384), c_ulong(16384)
        try:
            _call("SCardListReaders", self.handle, None, names, byref(n))
        except Failed as e:
            if e.code == SCARD_E_NO_READERS_AVAILABLE:  # noqa: F821 (made above)
                return []
            raise
        return [name.decode() for name in names.raw[:n.value].split(b"\0") if name]

    def connect(self, reader, protocols=T0 | T1, share=SHARE_SHARED):
        return Card(self, reader, share, protocols)

    def change(self, reader, current, milliseconds):
        """SCardGetStatusChange for one reader: (event state, ATR)."""
        state = (ReaderState * 1)()
        state[0].reader, state[0].current = reader.encode(), current
        _call("SCardGetStatusChange", self.handle, c_ulong(milliseconds), state, c_ulong(1))
        return state[0].event, bytes(state[0].atr[:state[0].atr_len])

    def change_or_not(self, reader, current, milliseconds):
        """The same; None when nothing changes in that time."""
        try:
            return self.change(reader, current, milliseconds)
        except Failed as e:
            if CODES.get(e.code) != "SCARD_E_TIMEOUT":
                raise
            return None

    def state(self, reader):
        return self.change(reader, STATE_UNAWARE, 0)

    def cancel(self):
        _call("SCardCancel", self.handle)

    def wait_readers(self, condition, seconds=10):
        """Waits until the list of readers pleases; returns it."""
        end = time.monotonic() + seconds
        while True:
            names = self.readers()
            if condition(names):
                return names
            if time.monotonic() > end:
                raise AssertionError("readers are %s" % names)
            try:
                self.change(PNP, STATE_UNAWARE, 100)
            except Failed as e:
                if CODES.get(e.code) != "SCARD_E_TIMEOUT":
                    raise

    def wait_state(self, reader, has=0, hasnt=0, seconds=10, seen=None):
        """Waits for a state with all bits of `has` and none of `hasnt`; returns (state, ATR). `seen`, a list, gets every
        state on the way, with pcscd's count of changes in the upper half."""
        end, current = time.monotonic() + seconds, STATE_UNAWARE
        while True:
            left = end - time.monotonic()
            if left <= 0:
                raise AssertionError("%s: state is %08X after %s s" % (reader, current, seconds))
            try:
                event, atr = self.change(reader, current, max(1, int(left * 1000)))
            except Failed as e:
                if CODES.get(e.code) != "SCARD_E_TIMEOUT":
                    raise
                continue
            current = event & ~STATE_CHANGED
            if seen is not None:
                seen.append(current)
            if event & has == has and not event & hasnt:
                return current, atr

    def wait_card(self, reader, seconds=10):
        """A card is there and its ATR read."""
        return self.wait_state(reader, STATE_PRESENT, STATE_MUTE | STATE_EMPTY, seconds)

    def wait_empty(self, reader, seconds=10):
        return self.wait_state(reader, STATE_EMPTY, STATE_PRESENT, seconds)
