#!/usr/bin/python3
"""uidrive - drive a GTK 4 application end to end, as a user would, without a screen.

Starts a private X server (Xvfb), a private D-Bus session, an AT-SPI registry and, if wanted, a
window manager; runs the application in there; finds widgets in its accessibility tree; clicks,
types, presses keys and drags; takes screenshots; measures; ends all it started, by pid.

Needs: python3-gi, xvfb, libxtst6, at-spi2-core, dbus (dbus-daemon); wanted: a window manager, best
one that composites (metacity; or openbox with picom).  No display, no GPU, no root rights, no network.

As a module
    from uidrive import Session
    with Session(wm="openbox") as s:
        app = s.launch(["./target/debug/app", "disk.img"], env={"LANGUAGE": "de"})
        app.click("button", "Apply…")
        app.drag(app.find("slider", "Disk layout"), ("30%", "50%"), ("45%", "50%"))
        app.wait_text(r"boundary 45\\.")
        app.screenshot("after.png")

As a command (the session lives on between the commands; `stop` ends it)
    uidrive.py start --wm openbox -- ./target/debug/app disk.img
    uidrive.py tree
    uidrive.py click button Apply…
    uidrive.py shot after.png
    uidrive.py stop
or all steps of a file in one go, with exit status 0 if every step passed:
    uidrive.py run steps.txt -- ./target/debug/app disk.img
or any command on such a desktop (instead of xvfb-run and dbus-run-session):
    uidrive.py wrap -- cargo test

`uidrive.py --help` lists the commands; README.md beside this file has the pitfalls.
"""
import argparse
import contextlib
import ctypes
import ctypes.util
import json
import os
import re
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import uuid
import zlib

import gi

gi.require_version("Gio", "2.0")
from gi.repository import Gio, GLib  # noqa: E402


class UiError(AssertionError):
    """Something that a user would see as a failure: not found, timed out, frozen, died."""


# ------------------------------------------------------------------------------------------------
# Small helpers
# ------------------------------------------------------------------------------------------------

# A machine much slower or busier than usual: UIDRIVE_SLOW=4 makes every time-out 4 times as long.
SLOW = float(os.environ.get("UIDRIVE_SLOW", "1"))


def wait_until(what, fn, timeout=5.0, every=0.05):
    """Call fn until it returns something true; return that.  UiError after `timeout` seconds."""
    timeout *= SLOW
    end = time.monotonic() + timeout
    while True:
        got = fn()
        if got:
            return got
        if time.monotonic() > end:
            raise UiError(f"timed out after {timeout:g} s: {what() if callable(what) else what}")
        time.sleep(every)


def clean_name(name):
    """The accessible name as a user reads it.

    GTK < 4.10 concatenates every source of a name: a mnemonic button is called "_Open Open", a
    labelled spin button "Size Size (MiB)".  Drop a first part that only repeats the second one.
    """
    words = name.split(" ")
    for i in range(1, len(words)):
        left, right = " ".join(words[:i]), " ".join(words[i:])
        if left.replace("_", "") == right.replace("_", ""):
            return right.replace("_", "") if "_" in left and "_" not in right else right
    return name


def name_matches(want, *have):
    """want: None or "*" = any; "/re/" = regular expression (search); else the exact name, with
    "…" and "..." taken as equal.  `have`: the names that a thing goes by."""
    if want is None or want == "*":
        return True
    if len(want) > 1 and want.startswith("/") and want.endswith("/"):
        return any(re.search(want[1:-1], h) for h in have)
    return any(want.replace("...", "…").strip() == h.replace("...", "…").strip() for h in have)


# What the roles are called differs between GTK/AT-SPI versions; these short names hide that.
ROLE_ALIASES = {
    "button": {"push button", "button", "toggle button", "menu button"},
    "switch": {"check box", "switch", "toggle button"},
    "entry": {"text", "entry", "password text"},
    "tab": {"page tab"},
    "window": {"frame", "window", "dialog", "alert"},
    "row": {"list item", "table row", "tree item"},
    "menuitem": {"menu item", "check menu item", "radio menu item"},
    "progress": {"progress bar"},
    "spin": {"spin button"},
    "combo": {"combo box"},
}


def role_matches(want, have):
    if want is None or want == "*":
        return True
    return have == want or have in ROLE_ALIASES.get(want, ())


def parse_point(p, w, h):
    """(x, y) or "x,y"; a part may be pixels (12) or a percentage of the widget ("30%")."""
    if isinstance(p, str):
        p = p.split(",")
    out = []
    for part, size in zip(p, (w, h)):
        part = str(part).strip()
        out.append(float(part[:-1]) / 100 * size if part.endswith("%") else float(part))
    return out[0], out[1]


# ------------------------------------------------------------------------------------------------
# X11 through ctypes: windows, pointer and keyboard (XTEST, as xdotool does).
# ------------------------------------------------------------------------------------------------

def char_keysym(c):
    if c == "\n":
        return 0xFF0D
    if c == "\t":
        return 0xFF09
    o = ord(c)
    return o if 0x20 <= o < 0x7F or 0xA0 <= o <= 0xFF else 0x01000000 + o


class XWindow:
    __slots__ = ("xid", "x", "y", "w", "h", "override", "title", "pid", "shadow")

    def __init__(self, **kw):
        for k, v in kw.items():
            setattr(self, k, v)

    def __repr__(self):
        return (f"<X 0x{self.xid:x} {self.w}x{self.h}+{self.x}+{self.y} {self.title!r} "
                f"pid={self.pid}{' override' if self.override else ''} shadow={self.shadow}>")


class X11:
    class _Attr(ctypes.Structure):
        _fields_ = [(n, ctypes.c_int) for n in ("x", "y", "width", "height", "border", "depth")] + [
            ("visual", ctypes.c_void_p), ("root", ctypes.c_ulong), ("klass", ctypes.c_int),
            ("bit_gravity", ctypes.c_int), ("win_gravity", ctypes.c_int),
            ("backing_store", ctypes.c_int), ("backing_planes", ctypes.c_ulong),
            ("backing_pixel", ctypes.c_ulong), ("save_under", ctypes.c_int),
            ("colormap", ctypes.c_ulong), ("map_installed", ctypes.c_int),
            ("map_state", ctypes.c_int), ("all_event_masks", ctypes.c_long),
            ("your_event_mask", ctypes.c_long), ("do_not_propagate_mask", ctypes.c_long),
            ("override_redirect", ctypes.c_int), ("screen", ctypes.c_void_p)]

    def __init__(self, display):
        self.lib = ctypes.CDLL("libX11.so.6")
        self.tst = ctypes.CDLL("libXtst.so.6")
        self.display = display
        L = self.lib
        L.XOpenDisplay.restype = ctypes.c_void_p
        L.XDefaultRootWindow.restype = ctypes.c_ulong
        L.XInternAtom.restype = ctypes.c_ulong
        # A window may vanish between two calls: never let Xlib end this process for it.
        handler = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
        self._handler = handler(lambda *_: 0)
        L.XSetErrorHandler(self._handler)
        self.pointer = 0, 0
        self.dpy = ctypes.c_void_p(L.XOpenDisplay(display.encode()))
        if not self.dpy:
            raise UiError(f"cannot open display {display}")
        self.root = L.XDefaultRootWindow(self.dpy)

    def close(self):
        if self.dpy:
            self.lib.XCloseDisplay(self.dpy)
            self.dpy = None

    def _prop(self, xid, name, limit=1024):
        """A window property as (format, raw bytes or list of ints), or None."""
        L = self.lib
        atom = L.XInternAtom(self.dpy, name.encode(), 1)
        if not atom:
            return None
        typ, fmt = ctypes.c_ulong(), ctypes.c_int()
        n, after, data = ctypes.c_ulong(), ctypes.c_ulong(), ctypes.c_void_p()
        rc = L.XGetWindowProperty(
            self.dpy, ctypes.c_ulong(xid), ctypes.c_ulong(atom), ctypes.c_long(0),
            ctypes.c_long(limit), 0, ctypes.c_ulong(0), ctypes.byref(typ), ctypes.byref(fmt),
            ctypes.byref(n), ctypes.byref(after), ctypes.byref(data))
        if rc != 0 or not data.value:
            return None
        try:
            if fmt.value == 32:
                return list(ctypes.cast(data, ctypes.POINTER(ctypes.c_ulong))[0:n.value])
            return ctypes.string_at(data, n.value * (fmt.value // 8))
        finally:
            L.XFree(data)

    def _children(self, xid):
        root, parent = ctypes.c_ulong(), ctypes.c_ulong()
        kids, n = ctypes.POINTER(ctypes.c_ulong)(), ctypes.c_uint()
        if not self.lib.XQueryTree(self.dpy, ctypes.c_ulong(xid), ctypes.byref(root),
                                   ctypes.byref(parent), ctypes.byref(kids), ctypes.byref(n)):
            return []
        out = [kids[i] for i in range(n.value)]
        if n.value:
            self.lib.XFree(kids)
        return out

    def windows(self):
        """Viewable client windows, bottom to top (managed ones sit inside WM frames)."""
        out = []

        def visit(xid, depth):
            a = self._Attr()
            if not self.lib.XGetWindowAttributes(self.dpy, ctypes.c_ulong(xid), ctypes.byref(a)):
                return
            if a.map_state != 2 or a.klass != 1:
                return
            pid = self._prop(xid, "_NET_WM_PID")
            if pid:
                x, y, child = ctypes.c_int(), ctypes.c_int(), ctypes.c_ulong()
                self.lib.XTranslateCoordinates(
                    self.dpy, ctypes.c_ulong(xid), ctypes.c_ulong(self.root), 0, 0,
                    ctypes.byref(x), ctypes.byref(y), ctypes.byref(child))
                title = self._prop(xid, "_NET_WM_NAME") or b""
                out.append(XWindow(
                    xid=xid, x=x.value, y=y.value, w=a.width, h=a.height,
                    override=bool(a.override_redirect), title=title.decode("utf-8", "replace"),
                    pid=pid[0], shadow=tuple(self._prop(xid, "_GTK_FRAME_EXTENTS") or (0, 0, 0, 0))))
            elif depth < 3:
                for k in self._children(xid):
                    visit(k, depth + 1)

        for k in self._children(self.root):
            visit(k, 0)
        return out

    # --- pointer ---
    def move(self, x, y):
        self.pointer = x, y
        self.tst.XTestFakeMotionEvent(self.dpy, -1, int(round(x)), int(round(y)), ctypes.c_ulong(0))
        self.lib.XFlush(self.dpy)

    def glide(self, x, y, steps, duration):
        """From where the pointer is, in a straight line."""
        x0, y0 = self.pointer
        for i in range(1, steps + 1):
            f = i / steps
            self.move(x0 + (x - x0) * f, y0 + (y - y0) * f)
            time.sleep(duration / steps)

    def button(self, n, down):
        self.tst.XTestFakeButtonEvent(self.dpy, n, int(down), ctypes.c_ulong(0))
        self.lib.XFlush(self.dpy)

    def focus(self, xid):
        self.lib.XSetInputFocus(self.dpy, ctypes.c_ulong(xid), 2, ctypes.c_ulong(0))
        self.lib.XFlush(self.dpy)

    def resize(self, xid, w, h):
        self.lib.XResizeWindow(self.dpy, ctypes.c_ulong(xid), int(w), int(h))
        self.lib.XFlush(self.dpy)

    # --- keyboard ---
    MODIFIERS = {"ctrl": "Control_L", "control": "Control_L", "shift": "Shift_L", "alt": "Alt_L",
                 "super": "Super_L"}

    def _keymap(self):
        """keysym -> (keycode, needs shift), and the keycodes without any keysym."""
        lo, hi, per = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
        self.lib.XDisplayKeycodes(self.dpy, ctypes.byref(lo), ctypes.byref(hi))
        n = hi.value - lo.value + 1
        self.lib.XGetKeyboardMapping.restype = ctypes.POINTER(ctypes.c_ulong)
        m = self.lib.XGetKeyboardMapping(self.dpy, ctypes.c_ubyte(lo.value), n, ctypes.byref(per))
        known, spare = {}, []
        for i in range(n):
            syms = [m[i * per.value + j] for j in range(per.value)]
            for level in (0, 1):
                if level < len(syms) and syms[level]:
                    known.setdefault(syms[level], (lo.value + i, bool(level)))
            if not any(syms):
                spare.append(lo.value + i)
        self.lib.XFree(m)
        return known, spare

    def _ensure(self, keysyms):
        """Give every keysym that no key has a spare key, once and for good.  (xdotool maps and
        unmaps one key per character, and an application that reads the map late gets nothing.)"""
        known, spare = self._keymap()
        missing = [k for k in dict.fromkeys(keysyms) if k not in known]
        for k in missing:
            if not spare:
                raise UiError("no spare key left to type more different characters")
            code = spare.pop(0)
            pair = (ctypes.c_ulong * 2)(k, k)
            self.lib.XChangeKeyboardMapping(self.dpy, code, 2, pair, 1)
            known[k] = (code, False)
        if missing:
            self.lib.XSync(self.dpy, 0)
            time.sleep(0.3)  # let the clients read the new map
        return known

    def _fake_key(self, code, down):
        self.tst.XTestFakeKeyEvent(self.dpy, code, int(down), ctypes.c_ulong(0))
        self.lib.XFlush(self.dpy)

    def _press(self, keysym, known, modifiers=()):
        self.lib.XStringToKeysym.restype = ctypes.c_ulong
        code, shift = known[keysym]
        mods = [known[self.lib.XStringToKeysym(m.encode())][0] for m in modifiers]
        if shift and "Shift_L" not in modifiers:
            mods.append(known[self.lib.XStringToKeysym(b"Shift_L")][0])
        for m in mods:
            self._fake_key(m, True)
        self._fake_key(code, True)
        self._fake_key(code, False)
        for m in reversed(mods):
            self._fake_key(m, False)

    def key(self, combo):
        self.lib.XStringToKeysym.restype = ctypes.c_ulong
        *mods, name = combo.split("+") if combo != "+" else ["plus"]
        sym = self.lib.XStringToKeysym(name.encode()) or (char_keysym(name) if len(name) == 1 else 0)
        if not sym:
            raise UiError(f"unknown key {name!r} in {combo!r}; X names: Return, Escape, Tab, F5, …")
        try:
            mods = [self.MODIFIERS[m.lower()] for m in mods]
        except KeyError as e:
            raise UiError(f"unknown modifier {e} in {combo!r}") from None
        self._press(sym, self._ensure([sym]), mods)

    def type(self, text, delay):
        syms = [char_keysym(c) for c in text]
        known = self._ensure(syms)
        for sym in syms:
            self._press(sym, known)
            time.sleep(delay)


# ------------------------------------------------------------------------------------------------
# The frame buffer: Xvfb -fbdir keeps the screen in a file (XWD format), so that reading the
# screen costs no X request, cannot fail and sees exactly what a user would see.
# ------------------------------------------------------------------------------------------------

class Framebuffer:
    def __init__(self, path):
        self.path = path
        with open(path, "rb") as f:
            head = struct.unpack(">25I", f.read(100))
        (self.header, _, _, depth, self.width, self.height, _, order, *_rest) = head
        self.bpp, self.stride, ncolors = head[11], head[12], head[19]
        if self.bpp != 32 or order != 0:
            raise UiError(f"unexpected frame buffer format: {self.bpp} bpp, byte order {order}")
        self.offset = self.header + ncolors * 12
        self._f = open(path, "rb", buffering=0)

    def raw(self):
        self._f.seek(self.offset)
        return self._f.read(self.stride * self.height)

    def rows(self, box):
        """The raw rows that box = (x, y, w, h) touches: cheap to compare."""
        y0, y1 = max(0, int(box[1])), min(self.height, int(box[1] + box[3]))
        return os.pread(self._f.fileno(), (y1 - y0) * self.stride, self.offset + y0 * self.stride)

    def rgb(self, box=None):
        """(width, height, RGB bytes) of the screen or of box = (x, y, w, h) of it."""
        x, y, w, h = box or (0, 0, self.width, self.height)
        x0, y0 = max(0, int(x)), max(0, int(y))
        x1, y1 = min(self.width, int(x + w)), min(self.height, int(y + h))
        w, h = max(0, x1 - x0), max(0, y1 - y0)
        raw = self.raw()
        rows = []
        for r in range(y0, y0 + h):
            line = raw[r * self.stride + x0 * 4: r * self.stride + (x0 + w) * 4]
            px = bytearray(w * 3)
            px[0::3], px[1::3], px[2::3] = line[2::4], line[1::4], line[0::4]
            rows.append(bytes(px))
        return w, h, rows

    def pixel(self, x, y):
        raw = self.raw()
        o = int(y) * self.stride + int(x) * 4
        return raw[o + 2], raw[o + 1], raw[o]

    def png(self, path, box=None):
        w, h, rows = self.rgb(box)

        def chunk(kind, data):
            body = kind + data
            return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

        data = b"".join(b"\0" + r for r in rows)
        with open(path, "wb") as f:
            f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, 8, 2, 0, 0, 0))
                    + chunk(b"IDAT", zlib.compress(data, 6)) + chunk(b"IEND", b""))
        return path


# ------------------------------------------------------------------------------------------------
# AT-SPI over plain D-Bus: no client-side cache (libatspi has one, and it goes stale), a time-out
# on every call, many calls in flight at once.
# ------------------------------------------------------------------------------------------------

A11Y = "org.a11y.atspi."
PROPS = "org.freedesktop.DBus.Properties"

# AT-SPI role numbers; GTK's own GetRoleName gives other, possibly translated names.
ROLES = (
    "invalid|accelerator label|alert|animation|arrow|calendar|canvas|check box|check menu item|"
    "color chooser|column header|combo box|date editor|desktop icon|desktop frame|dial|dialog|"
    "directory pane|drawing area|file chooser|filler|focus traversable|font chooser|frame|"
    "glass pane|html container|icon|image|internal frame|label|layered pane|list|list item|menu|"
    "menu bar|menu item|option pane|page tab|page tab list|panel|password text|popup menu|"
    "progress bar|push button|radio button|radio menu item|root pane|row header|scroll bar|"
    "scroll pane|separator|slider|spin button|split pane|status bar|table|table cell|"
    "table column header|table row header|tearoff menu item|terminal|text|toggle button|tool bar|"
    "tool tip|tree|tree table|unknown|viewport|window|extended|header|footer|paragraph|ruler|"
    "application|autocomplete|edit bar|embedded|entry|chart|caption|document frame|heading|page|"
    "section|redundant object|form|link|input method window|table row|tree item|"
    "document spreadsheet|document presentation|document text|document web|document email|"
    "comment|list box|grouping|image map|notification|info bar|level bar|title bar|block quote|"
    "audio|video|definition|article|landmark|log|marquee|math|rating|timer|static|math fraction|"
    "math root|subscript|superscript|description list|description term|description value|"
    "footnote|content deletion|content insertion|mark|suggestion|push button menu|switch"
).split("|")

STATES = (
    "invalid active armed busy checked collapsed defunct editable enabled expandable expanded "
    "focusable focused has-tooltip horizontal iconified modal multi-line multiselectable opaque "
    "pressed resizable selectable selected sensitive showing single-line stale transient vertical "
    "visible manages-descendants indeterminate required truncated animated invalid-entry "
    "supports-autocompletion selectable-text is-default visited checkable has-popup read-only"
).split()


class Node:
    """One accessible object as it was when the tree was read."""

    def __init__(self, app, bus, path, parent):
        self.app, self.bus, self.path, self.parent = app, bus, path, parent
        self.children = []
        self.role = self.name = self.description = ""
        self.states, self.interfaces = frozenset(), ()
        self.extents = None  # (x, y, w, h), logical pixels, relative to the node's window
        self.mapped = False  # really drawn: not on a hidden stack page, not in a closed popover
        self.value = None    # (min, now, max)
        self.text = None

    # --- structure ---
    def walk(self):
        yield self
        for c in self.children:
            yield from c.walk()

    @property
    def label(self):
        """The name as a user reads it; a nameless icon button goes by its tooltip."""
        if self.nameless and self.description:
            return self.description
        return clean_name(self.name)

    @property
    def nameless(self):
        """GTK 4.8 names a widget after its C class ("GtkImage") where it finds nothing better."""
        return not self.name or re.fullmatch(r"(Gtk|Adw)[A-Z]\w*", self.name) is not None

    @property
    def window(self):
        n = self
        while n.parent is not None and n.parent.role != "application":
            n = n.parent
        return n

    @property
    def visible(self):
        """On screen: drawn, and not scrolled out of view."""
        if not self.mapped:
            return False
        x, y, w, h = self.extents
        n = self.parent
        while n is not None and n.extents is not None and not n.is_popover:
            if n.role in ("scroll pane", "viewport"):
                ex, ey, ew, eh = n.extents
                if x >= ex + ew or y >= ey + eh or x + w <= ex or y + h <= ey:
                    return False
            n = n.parent
        return True

    @property
    def is_popover(self):
        """A popover is an X window of its own, of exactly its size."""
        return self.app.popover_window(self) is not None

    # --- geometry on the screen ---
    @property
    def rect(self):
        """(x, y, w, h) in screen pixels."""
        if not self.extents:
            raise UiError(f"{self} has no extents")
        ox, oy, scale, _ = self.app.origin(self)
        x, y, w, h = self.extents
        return ox + x * scale, oy + y * scale, w * scale, h * scale

    @property
    def center(self):
        x, y, w, h = self.rect
        return x + w / 2, y + h / 2

    # --- calls ---
    def call(self, iface, method, params=None, timeout=None):
        return self.app.bus.call(self.bus, self.path, A11Y + iface, method, params, timeout)

    def actions(self):
        if "Action" not in self.interfaces:
            return []
        # Not GetActions: the names that it gives are translated ("Click", "Klicken").
        n = self.app.bus.prop(self.bus, self.path, A11Y + "Action", "NActions")
        return [self.call("Action", "GetName", GLib.Variant("(i)", (i,)))[0] for i in range(n)]

    def activate(self, action=None):
        """Do the widget's action through AT-SPI (no pointer): click, toggle, …"""
        names = self.actions()
        want = [action] if action else ["click", "toggle", "activate", "press", "menu.popup"]
        for w in want:
            if w in names:
                self.call("Action", "DoAction", GLib.Variant("(i)", (names.index(w),)))
                return
        raise UiError(f"{self} has no action {want}; it has {names}")

    def read_text(self):
        n = self.app.bus.prop(self.bus, self.path, A11Y + "Text", "CharacterCount")
        return self.call("Text", "GetText", GLib.Variant("(ii)", (0, n)))[0] if n > 0 else ""

    def set_text(self, text):
        return self.call("EditableText", "SetTextContents", GLib.Variant("(s)", (text,)))[0]

    def read_value(self):
        return self.app.bus.prop(self.bus, self.path, A11Y + "Value", "CurrentValue")

    def set_value(self, v):
        self.app.bus.call(self.bus, self.path, PROPS, "Set", GLib.Variant(
            "(ssv)", (A11Y + "Value", "CurrentValue", GLib.Variant("d", float(v)))))

    def refresh(self):
        """This node, read again (without children)."""
        n = Node(self.app, self.bus, self.path, self.parent)
        self.app.bus.fill([n])
        self.app.bus.check_mapped([n])
        return n

    def line(self):
        out = [f"{self.role} {self.label!r}"]
        if self.nameless and self.label:
            out.append("NO-NAME")
        elif self.description:
            out.append(f"desc={self.description!r}")
        if self.value:
            out.append("value={1:g} [{0:g}..{2:g}]".format(*self.value))
        if self.text is not None and self.text != self.label:
            out.append(f"text={self.text!r}")
        shown = [s for s in sorted(self.states) if s not in (
            "sensitive", "visible", "enabled", "showing", "focusable", "horizontal", "vertical",
            "selectable")]
        if "sensitive" not in self.states and self.role != "application":
            shown.append("INSENSITIVE")
        if shown:
            out.append("(" + " ".join(shown) + ")")
        if self.extents:
            try:
                x, y, w, h = self.rect
            except UiError:
                x, y, w, h = self.extents
            out.append(f"@{x:.0f},{y:.0f} {w:.0f}x{h:.0f}")
        if not self.visible and self.extents:
            out.append("HIDDEN")
        return " ".join(out)

    def __repr__(self):
        return f"<{self.role} {self.label!r}>"


class A11yBus:
    def __init__(self, address, call_timeout=5.0):
        self.timeout = call_timeout
        self.conn = Gio.DBusConnection.new_for_address_sync(
            address, Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT
            | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION, None, None)
        self.conn.set_exit_on_close(False)

    def close(self):
        with contextlib.suppress(GLib.Error):
            self.conn.close_sync(None)

    def call(self, bus, path, iface, method, params=None, timeout=None):
        try:
            r = self.conn.call_sync(bus, path, iface, method, params, None,
                                    Gio.DBusCallFlags.NO_AUTO_START,
                                    int((timeout or self.timeout) * SLOW * 1000), None)
        except GLib.Error as e:
            raise self._error(e, f"{iface}.{method}") from None
        return r.unpack()

    def prop(self, bus, path, iface, name):
        return self.call(bus, path, PROPS, "Get", GLib.Variant("(ss)", (iface, name)))[0]

    @staticmethod
    def _error(e, what):
        if e.matches(Gio.io_error_quark(), Gio.IOErrorEnum.TIMED_OUT):
            return UiError(f"the application does not answer ({what}): its main loop is blocked")
        return UiError(f"{what}: {e.message}")

    def batch(self, calls, timeout=None):
        """[(bus, path, iface, method, params)] -> list of results, None where one failed."""
        ctx = GLib.MainContext.default()
        results, left, hung = [None] * len(calls), [len(calls)], []

        def done(conn, res, i):
            left[0] -= 1
            try:
                results[i] = conn.call_finish(res).unpack()
            except GLib.Error as e:
                if e.matches(Gio.io_error_quark(), Gio.IOErrorEnum.TIMED_OUT):
                    hung.append(calls[i])

        for i, (bus, path, iface, method, params) in enumerate(calls):
            self.conn.call(bus, path, iface, method, params, None,
                           Gio.DBusCallFlags.NO_AUTO_START,
                           int((timeout or self.timeout) * SLOW * 1000), None, done, i)
        while left[0]:
            ctx.iteration(True)
        if hung:
            raise UiError("the application does not answer: its main loop is blocked")
        return results

    def fill(self, nodes):
        """Read all properties of the nodes; return their children's references."""
        per = 6
        calls = []
        for n in nodes:
            calls += [
                (n.bus, n.path, PROPS, "GetAll", GLib.Variant("(s)", (A11Y + "Accessible",))),
                (n.bus, n.path, A11Y + "Accessible", "GetRole", None),
                (n.bus, n.path, A11Y + "Accessible", "GetState", None),
                (n.bus, n.path, A11Y + "Accessible", "GetInterfaces", None),
                (n.bus, n.path, A11Y + "Accessible", "GetChildren", None),
                (n.bus, n.path, A11Y + "Component", "GetExtents", GLib.Variant("(u)", (1,))),
            ]
        res = self.batch(calls)
        kids = []
        more, slots = [], []
        for i, n in enumerate(nodes):
            props, role, state, ifaces, children, ext = res[i * per:(i + 1) * per]
            props = props[0] if props else {}
            n.name, n.description = props.get("Name", ""), props.get("Description", "")
            n.role = ROLES[role[0]] if role and role[0] < len(ROLES) else f"role {role and role[0]}"
            if state:
                bits = state[0][0] | (state[0][1] << 32)
                n.states = frozenset(s for b, s in enumerate(STATES) if bits >> b & 1)
            n.interfaces = tuple(x.rsplit(".", 1)[1] for x in ifaces[0]) if ifaces else ()
            n.extents = tuple(ext[0]) if ext and "Component" in n.interfaces else None
            kids.append(children[0] if children else [])
            if "Value" in n.interfaces:
                more.append((n.bus, n.path, PROPS, "GetAll", GLib.Variant("(s)", (A11Y + "Value",))))
                slots.append((n, "value"))
            if "Text" in n.interfaces:
                more.append((n.bus, n.path, PROPS, "Get",
                             GLib.Variant("(ss)", (A11Y + "Text", "CharacterCount"))))
                slots.append((n, "text"))
        texts = []
        for (n, what), r in zip(slots, self.batch(more)):
            if r is None:
                continue
            if what == "text":
                n.text = ""
                if r[0] > 0:  # GTK 4.8 takes no -1 for "to the end"
                    texts.append((n, (n.bus, n.path, A11Y + "Text", "GetText",
                                      GLib.Variant("(ii)", (0, r[0])))))
            else:
                v = r[0]
                n.value = (v.get("MinimumValue", 0), v.get("CurrentValue", 0), v.get("MaximumValue", 0))
        for (n, _), r in zip(texts, self.batch([c for _, c in texts])):
            n.text = r[0] if r else ""
        return kids

    def check_mapped(self, nodes):
        """GTK 4.8 calls every widget "visible" and lets hidden stack pages keep their extents, but
        Contains() is false for a widget that is not mapped."""
        sized = [n for n in nodes if n.extents and n.extents[2] > 0 and n.extents[3] > 0]
        calls = [(n.bus, n.path, A11Y + "Component", "Contains", GLib.Variant(
            "(iiu)", (n.extents[0] + n.extents[2] // 2, n.extents[1] + n.extents[3] // 2, 1)))
            for n in sized]
        for n, r in zip(sized, self.batch(calls)):
            n.mapped = bool(r and r[0])

    def tree(self, app, bus, path, everything=False):
        """Read the tree level by level; skip what hangs below an unmapped widget if not asked for
        everything."""
        root = Node(app, bus, path, None)
        level = [root]
        while level:
            kids = self.fill(level)
            self.check_mapped(level)
            nxt = []
            for n, refs in zip(level, kids):
                if n.extents is not None and not n.mapped and not everything:
                    continue
                for b, p in refs:
                    if p.endswith("/null"):
                        continue
                    c = Node(app, b, p, n)
                    n.children.append(c)
                    nxt.append(c)
            level = nxt
        return root

    def pid_of(self, bus):
        return self.call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
                         "GetConnectionUnixProcessID", GLib.Variant("(s)", (bus,)))[0]

    def applications(self):
        refs = self.call("org.a11y.atspi.Registry", "/org/a11y/atspi/accessible/root",
                         A11Y + "Accessible", "GetChildren")[0]
        return [(b, p) for b, p in refs if not p.endswith("/null")]


# ------------------------------------------------------------------------------------------------
# The session: X server, buses, window manager, processes
# ------------------------------------------------------------------------------------------------

DBUS_CONF = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={sock}</listen>
  <auth>EXTERNAL</auth>
  {services}
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"""

WM_COMMANDS = {
    "openbox": ["openbox", "--sm-disable"],
    "metacity": ["metacity", "--sm-disable", "--composite"],
    "metacity-plain": ["metacity", "--sm-disable", "--no-composite"],
    "xfwm4": ["xfwm4", "--compositor=on"],
    "xfwm4-plain": ["xfwm4", "--compositor=off"],
    "icewm": ["icewm"],
    "openbox+picom": ["sh", "-c", "picom --backend xrender --config /dev/null & exec openbox --sm-disable"],
}


def _find_tool(*names):
    for n in names:
        for p in ([n] if "/" in n else [shutil.which(n)]):
            if p and os.access(p, os.X_OK):
                return p
    raise UiError(f"not installed: {' or '.join(names)}")


def _pdeathsig():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: never outlive the driver


def _alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def cpu_seconds(pid):
    """User + system time that a process has used so far."""
    with open(f"/proc/{pid}/stat") as f:
        v = f.read().rsplit(")", 1)[1].split()
    return (int(v[11]) + int(v[12])) / os.sysconf("SC_CLK_TCK")


class Session:
    """A private desktop.  keep=True: processes outlive this Python process (command line use)."""

    def __init__(self, size="1280x900", wm=None, services=False, animations=True, keep=False,
                 workdir=None, env=None, settings=None, verbose=False):
        """size: of the screen.  wm: a key of WM_COMMANDS, a command line, or None.
        services: let the session bus start the installed services (portals, dconf, …).
        animations: False = the screen settles at once, but GTK then warns about some revealers.
        settings: more lines for GTK's settings.ini, e.g. {"gtk-font-name": "Cantarell 16"}."""
        self.id = uuid.uuid4().hex
        self.keep, self.verbose = keep, verbose
        self.dir = workdir or tempfile.mkdtemp(prefix="uidrive-")
        self.procs = []        # [name, pid] in the order started
        self._popen = {}       # pid -> Popen, to reap
        self.x = self.fb = self.bus = None
        self.apps = []
        self.wm, self.size = wm, size
        self.base_env = {}
        try:
            self._start(size, wm, services, animations, env or {}, settings or {})
        except BaseException:
            self.close()
            raise

    # --- starting ---
    def _environment(self, extra):
        keep = ("PATH", "LD_LIBRARY_PATH", "USER", "LOGNAME", "SHELL", "RUST_BACKTRACE", "RUST_LOG",
                "CARGO_MANIFEST_DIR", "LLVM_PROFILE_FILE", "TZ", "TERM", "SSL_CERT_FILE")
        env = {k: os.environ[k] for k in keep if k in os.environ}
        d = self.dir
        for k, sub in (("HOME", "home"), ("XDG_CONFIG_HOME", "home/.config"),
                       ("XDG_DATA_HOME", "home/.local/share"), ("XDG_CACHE_HOME", "home/.cache"),
                       ("XDG_STATE_HOME", "home/.local/state"), ("XDG_RUNTIME_DIR", "run")):
            env[k] = os.path.join(d, sub)
            os.makedirs(env[k], mode=0o700, exist_ok=True)
        env.update({
            "LANG": "C.UTF-8", "GDK_BACKEND": "x11", "GSK_RENDERER": "cairo",
            "GSETTINGS_BACKEND": "memory", "LIBGL_ALWAYS_SOFTWARE": "1",
            "UIDRIVE_SESSION": self.id,   # marks everything that belongs to this session
        })
        env.update(extra)
        return env

    def desktop_env(self):
        """What makes a process use this desktop, for one that keeps its own environment else."""
        return {k: v for k, v in self.base_env.items() if k in (
            "DISPLAY", "DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME",
            "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "GDK_BACKEND", "GSK_RENDERER",
            "GSETTINGS_BACKEND", "LIBGL_ALWAYS_SOFTWARE", "UIDRIVE_SESSION")}

    def _spawn(self, name, argv, env=None, stdout=None, stderr=None, pass_fds=(), cwd=None):
        log = open(os.path.join(self.dir, f"{name}.log"), "ab")
        p = subprocess.Popen(
            argv, env=env or self.base_env, stdin=subprocess.DEVNULL, stdout=stdout or log,
            stderr=stderr or log, start_new_session=True, pass_fds=pass_fds, cwd=cwd,
            preexec_fn=None if self.keep else _pdeathsig)
        log.close()
        self.procs.append([name, p.pid])
        self._popen[p.pid] = p
        if self.verbose:
            print(f"uidrive: {name} is pid {p.pid}", file=sys.stderr)
        return p

    def _start(self, size, wm, services, animations, extra, settings):
        env = self.base_env = self._environment(extra)
        self._start_display(size, env)
        self._start_buses(services, env)
        # There is no settings daemon: GTK reads this file instead.
        settings = {"gtk-enable-animations": "true" if animations else "false",
                    "gtk-font-name": "Cantarell 11", **settings}
        ini = os.path.join(env["XDG_CONFIG_HOME"], "gtk-4.0", "settings.ini")
        os.makedirs(os.path.dirname(ini), exist_ok=True)
        with open(ini, "w") as f:
            f.write("[Settings]\n" + "".join(f"{k}={v}\n" for k, v in settings.items()))
        self._start_wm(wm)
        self._save()

    def _start_display(self, size, env):
        """X server on a display number that it picks itself."""
        fbdir = os.path.join(self.dir, "fb")
        os.makedirs(fbdir, exist_ok=True)
        r, w = os.pipe()
        xvfb = _find_tool("Xvfb")
        px = self._spawn("Xvfb", [xvfb, "-displayfd", str(w), "-screen", "0", f"{size}x24", "-dpi",
                                  "96", "-nolisten", "tcp", "-noreset", "-fbdir", fbdir],
                         pass_fds=(w,))
        os.close(w)
        os.set_blocking(r, False)
        num = b""

        def display_number():
            nonlocal num
            if px.poll() is not None:
                raise UiError(f"Xvfb ended: {self._tail('Xvfb')}")
            with contextlib.suppress(BlockingIOError):
                num += os.read(r, 16)
            return num.endswith(b"\n")
        wait_until("Xvfb tells its display", display_number, 15, 0.02)
        os.close(r)
        env["DISPLAY"] = self.display = ":" + num.decode().strip()
        self.x = X11(self.display)
        self.fb = Framebuffer(os.path.join(fbdir, "Xvfb_screen0"))

    def _start_buses(self, services, env):
        # session bus
        sock = os.path.join(self.dir, "bus")
        conf = os.path.join(self.dir, "bus.conf")
        with open(conf, "w") as f:
            f.write(DBUS_CONF.format(sock=sock, services="<standard_session_servicedirs/>"
                                     if services else ""))
        self._spawn("dbus", [_find_tool("dbus-daemon"), f"--config-file={conf}", "--nofork"])
        wait_until("the session bus is up", lambda: os.path.exists(sock), 10, 0.02)
        env["DBUS_SESSION_BUS_ADDRESS"] = self.session_bus = f"unix:path={sock}"
        # accessibility bus and registry
        launcher = _find_tool("/usr/libexec/at-spi-bus-launcher",
                              "/usr/lib/at-spi2-core/at-spi-bus-launcher",
                              "/usr/lib/at-spi2/at-spi-bus-launcher", "at-spi-bus-launcher")
        self._spawn("at-spi", [launcher, "--launch-immediately"])
        self._connect_session_bus()
        wait_until("the accessibility bus is up", self._a11y_address, 10, 0.05)
        self._connect_a11y()

    def _start_wm(self, wm):
        if not wm:
            return
        argv = WM_COMMANDS.get(wm) or shlex.split(wm)
        self._spawn("wm", [_find_tool(argv[0]), *argv[1:]])
        wait_until(f"the window manager {wm} is up",
                   lambda: self.x._prop(self.x.root, "_NET_SUPPORTING_WM_CHECK"), 10, 0.05)
        self.settle(quiet=0.3, timeout=3)  # a compositor paints the empty screen some time later

    def _connect_session_bus(self):
        end = time.monotonic() + 10
        while True:
            try:
                self.session = A11yBus(self.session_bus)
                return
            except GLib.Error:
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)

    def _a11y_address(self):
        with contextlib.suppress(UiError):
            self.a11y_address = self.session.call("org.a11y.Bus", "/org/a11y/bus", "org.a11y.Bus",
                                                  "GetAddress")[0]
            return self.a11y_address

    def _connect_a11y(self):
        self.bus = A11yBus(self.a11y_address)
        # The registry is started by its bus on first use.
        with contextlib.suppress(UiError):
            self.bus.call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
                          "StartServiceByName", GLib.Variant("(su)", ("org.a11y.atspi.Registry", 0)))
        wait_until("the AT-SPI registry answers", self._registry_up, 10, 0.05)

    def _registry_up(self):
        try:
            self.bus.applications()
            return True
        except UiError:
            return False

    # --- keeping a session between commands ---
    def _save(self):
        with open(os.path.join(self.dir, "session.json"), "w") as f:
            json.dump({"id": self.id, "display": self.display, "session_bus": self.session_bus,
                       "a11y": self.a11y_address, "procs": self.procs, "env": self.base_env,
                       "wm": self.wm, "size": self.size,
                       "apps": [[a.name, a.pid, a.t0] for a in self.apps]}, f)

    @classmethod
    def attach(cls, workdir):
        """Join a session that another process started with keep=True."""
        self = cls.__new__(cls)
        with open(os.path.join(workdir, "session.json")) as f:
            st = json.load(f)
        self.id, self.dir, self.keep, self.verbose = st["id"], workdir, True, False
        self.display, self.session_bus = st["display"], st["session_bus"]
        self.a11y_address, self.procs, self.base_env = st["a11y"], st["procs"], st["env"]
        self.wm, self.size = st["wm"], st["size"]
        self._popen = {}
        self.x = X11(self.display)
        self.fb = Framebuffer(os.path.join(workdir, "fb", "Xvfb_screen0"))
        self._connect_session_bus()
        self._connect_a11y()
        self.apps = [App(self, name, pid, None, t0) for name, pid, t0 in st["apps"]]
        return self

    # --- applications ---
    def spawn(self, argv, env=None, name=None, cwd=None):
        """Start a process in the session and return an App at once (no waiting for a window)."""
        name = name or f"app{len(self.apps)}"
        e = dict(self.base_env)
        for k, v in (env or {}).items():
            if v is None:
                e.pop(k, None)
            else:
                e[k] = str(v)
        t0 = time.monotonic()
        e["UIDRIVE_T0"] = str(int(t0 * 1e6))  # CLOCK_MONOTONIC µs, = glib::monotonic_time()
        out = open(os.path.join(self.dir, f"{name}.out"), "wb")
        err = open(os.path.join(self.dir, f"{name}.err"), "wb")
        p = self._spawn(name, argv, env=e, stdout=out, stderr=err, cwd=cwd)
        out.close()
        err.close()
        app = App(self, name, p.pid, p, t0)
        app.argv = list(argv)
        self.apps.append(app)
        self._save()
        return app

    def launch(self, argv, env=None, name=None, cwd=None, timeout=20.0, settle=True):
        """spawn + wait until a window is mapped and in the accessibility tree."""
        before = self.fb.raw()
        app = self.spawn(argv, env, name, cwd)
        try:
            app.wait_pixels(before, timeout)
            app.wait_window(timeout)
            if settle:
                self.settle(timeout=3)
        except UiError as e:
            raise UiError(f"{e}\n--- its stderr ends with:\n{app.stderr()[-2000:]}") from None
        return app

    def run(self, argv, env=None, timeout=20.0, cwd=None):
        """Run a command to its end in the session: (exit status, stdout, stderr).  For instance a
        second instance that hands its files over to the first one."""
        app = self.spawn(argv, env, name=f"run{len(self.procs)}", cwd=cwd)
        self.apps.remove(app)
        try:
            rc = app.wait_exit(timeout)
        finally:
            app.kill()
            self._save()
        return rc, app.stdout(), app.stderr()

    def foreign(self, name, timeout=10.0):
        """Another application in the session by its accessible name, e.g. the portal's dialog."""
        def look():
            for b, p in self.bus.applications():
                with contextlib.suppress(UiError):
                    if self.bus.prop(b, p, A11Y + "Accessible", "Name") == name:
                        app = App(self, name, self.bus.pid_of(b), None, time.monotonic())
                        app._ref = (b, p)
                        return app
            return None
        return wait_until(f"an application {name!r} is on the accessibility bus", look, timeout, 0.1)

    # --- windows ---
    def locate(self, app, win):
        """(x, y, scale, X window) for the content of one of an application's windows."""
        _, _, w, h = win.extents
        best = None
        for xw in app._xwins():
            if xw.override:
                continue
            left, right, top, bottom = xw.shadow
            for scale in (1, 2, 3):
                # What is left besides the content: nothing, or the thin frame that libadwaita
                # draws itself where no compositor runs; it is the same on both sides.
                rx, ry = xw.w - left - right - w * scale, xw.h - top - bottom - h * scale
                if 0 <= rx <= 24 * scale and 0 <= ry <= 24 * scale:
                    score = (xw.title == win.name, -rx - ry, xw.xid)
                    cand = (score, (xw.x + left + rx / 2, xw.y + top + ry / 2, scale, xw))
                    if best is None or cand[0] > best[0]:
                        best = cand
        if best is None:
            for xw in app._xwins():  # GTK 3: extents that include the window manager's title bar
                if xw.title == win.name:
                    return xw.x, xw.y, 1, xw
            raise UiError(f"no X window fits {win} {win.extents}: {app._xwins()}")
        return best[1]

    def resize(self, app, w, h, title=None):
        """Resize a window's content, in logical pixels; the window's minimum size still holds."""
        win = app.find("window", title)
        _, _, scale, xw = app.origin(win)
        dw, dh = xw.w - win.extents[2] * scale, xw.h - win.extents[3] * scale
        self.x.resize(xw.xid, w * scale + dw, h * scale + dh)
        self.settle(timeout=2)

    # --- screen ---
    def screenshot(self, path, box=None):
        return self.fb.png(path, box)

    def settle(self, quiet=0.15, timeout=3.0):
        """Wait until the screen did not change for `quiet` s.  False if it never settled."""
        end = time.monotonic() + timeout
        last, since = None, time.monotonic()
        while time.monotonic() < end:
            now = zlib.crc32(self.fb.raw())
            if now != last:
                last, since = now, time.monotonic()
            elif time.monotonic() - since >= quiet:
                return True
            time.sleep(0.02)
        return False

    def latency(self, do, box=None, timeout=2.0):
        """Seconds from calling do() until the screen (or the rows of a box) changes: what a user
        waits for.  Put the pointer and the focus in place before, so that do() is one event; the
        pointer is on the screen too, so choose a box whose rows it does not touch."""
        box = box or (0, 0, self.fb.width, self.fb.height)
        before = self.fb.rows(box)
        t = time.monotonic()
        do()
        while self.fb.rows(box) == before:
            if time.monotonic() - t > timeout:
                raise UiError(f"nothing changed on the screen in {timeout:g} s")
            time.sleep(0.0005)
        return time.monotonic() - t

    # --- keyboard ---
    def key(self, *combos, delay=0.05):
        """Press key combinations: "ctrl+o", "F5", "Tab", "Escape", "shift+Left", "alt+f"."""
        for c in combos:
            self.x.key(c)
            time.sleep(delay)

    def type(self, text, delay=0.012):
        """Type text, any Unicode."""
        self.x.type(text, delay)
        time.sleep(0.05)

    # --- pointer, in screen pixels ---
    def click_at(self, x, y, button=1, count=1):
        self.x.move(x, y)
        time.sleep(0.03)
        for _ in range(count):
            self.x.button(button, True)
            time.sleep(0.03)
            self.x.button(button, False)
            time.sleep(0.05)

    def drag_screen(self, x1, y1, x2, y2, steps=25, duration=0.5, button=1):
        self.x.move(x1, y1)
        time.sleep(0.05)
        self.x.button(button, True)
        time.sleep(0.05)
        t = time.monotonic()
        for i in range(1, steps + 1):
            f = i / steps
            self.x.move(x1 + (x2 - x1) * f, y1 + (y2 - y1) * f)
            time.sleep(max(0.0, t + duration * f - time.monotonic()))
        time.sleep(0.05)
        self.x.button(button, False)
        time.sleep(0.05)

    # --- ending ---
    def _tail(self, name, n=600):
        try:
            with open(os.path.join(self.dir, f"{name}.log"), errors="replace") as f:
                return f.read()[-n:]
        except OSError:
            return ""

    def _kill(self, pid, grace=2.0):
        """End one process that this session started; checked by its session mark first."""
        if pid == os.getpid() or not self._ours(pid):
            return
        for sig, wait in ((signal.SIGTERM, grace), (signal.SIGKILL, 2.0)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sig)
            end = time.monotonic() + wait
            while time.monotonic() < end:
                if pid in self._popen:
                    self._popen[pid].poll()
                if not _alive(pid):
                    return
                time.sleep(0.02)

    def _ours(self, pid):
        try:
            with open(f"/proc/{pid}/environ", "rb") as f:
                return f"UIDRIVE_SESSION={self.id}".encode() in f.read().split(b"\0")
        except OSError:
            return False

    def leftovers(self):
        """Pids that still carry this session's mark (for instance children of children)."""
        return [int(p) for p in os.listdir("/proc")
                if p.isdigit() and int(p) != os.getpid() and self._ours(int(p))]

    def close(self, keep_files=False):
        for part in (self.bus, getattr(self, "session", None)):
            if part:
                part.close()
        if self.x:
            self.x.close()
            self.x = None
        for _, pid in reversed(self.procs):
            self._kill(pid)
        for pid in self.leftovers():
            self._kill(pid, grace=0.5)
        self.procs = []
        if not keep_files:
            shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


# ------------------------------------------------------------------------------------------------
# The application under test
# ------------------------------------------------------------------------------------------------

class App:
    def __init__(self, session, name, pid, popen, t0):
        self.s, self.name, self.pid, self.popen, self.t0 = session, name, pid, popen, t0
        self.bus = session.bus
        self.first_pixels = None   # seconds from exec to the first change on the screen
        self.window_ready = None   # seconds from exec to a window in the accessibility tree
        self.argv = []
        self._ref = None
        self._origins = {}
        self._xwindows = None

    # --- process ---
    def alive(self):
        if self.popen:
            self.popen.poll()
        return _alive(self.pid)

    def wait_exit(self, timeout=5.0):
        """Wait for the end of the process; its exit status (None where it is not our child)."""
        wait_until(f"{self.name} (pid {self.pid}) ends", lambda: not self.alive(), timeout, 0.02)
        return self.popen.wait(1) if self.popen else None

    def kill(self):
        self.s._kill(self.pid)

    def stdout(self):
        with open(os.path.join(self.s.dir, f"{self.name}.out"), errors="replace") as f:
            return f.read()

    def stderr(self):
        with open(os.path.join(self.s.dir, f"{self.name}.err"), errors="replace") as f:
            return f.read()

    def wait_text(self, pattern, timeout=5.0, new=False):
        """Wait until the application's stdout has a match; new=True: behind the last match that
        such a wait found (kept in a file, so that separate commands share it)."""
        seen = os.path.join(self.s.dir, f"{self.name}.seen")
        start = 0
        if new and os.path.exists(seen):
            with open(seen) as f:
                start = int(f.read())

        def look():
            return re.compile(pattern).search(self.stdout(), start)
        m = wait_until(lambda: f"stdout has {'a new ' if new else ''}/{pattern}/; it ends with: "
                       f"{self.stdout()[-300:]!r}", look, timeout)
        with open(seen, "w") as f:
            f.write(str(max(start, m.end())))
        return m

    def complaints(self):
        """Lines of stderr that tell of a programming error."""
        return [x for x in self.stderr().splitlines()
                if re.search(r"-(CRITICAL|WARNING) \*\*|panicked at|thread '.*' panicked", x)
                and "Screen coordinates not supported" not in x
                # The private desktop has nobody who shows them.
                and "unable to send notifications" not in x]

    def cpu_seconds(self):
        return cpu_seconds(self.pid)

    # --- tree ---
    def _find_ref(self):
        for b, p in self.bus.applications():
            with contextlib.suppress(UiError):
                if self.bus.pid_of(b) == self.pid:
                    return b, p
        return None

    def tree(self, everything=False):
        if not self.alive():
            raise UiError(f"{self.name} has ended; its stderr:\n{self.stderr()[-2000:]}")
        if self._ref is None:
            self._ref = wait_until(f"{self.name} appears on the accessibility bus", self._find_ref, 10)
        self._origins = {}
        self._xwindows = None
        return self.bus.tree(self, *self._ref, everything)

    def windows(self):
        return self.tree().children

    def wait_pixels(self, before, timeout):
        def changed():
            if not self.alive():
                raise UiError(f"{self.name} ended before it showed anything")
            return self.s.fb.raw() != before
        wait_until(f"{self.name} paints its first pixels", changed, timeout, 0.004)
        self.first_pixels = time.monotonic() - self.t0

    def wait_window(self, timeout=20.0, title=None):
        def look():
            if not self.alive():
                raise UiError(f"{self.name} ended before it showed a window")
            if self._ref is None:
                self._ref = self._find_ref()
            if self._ref is None:
                return None
            for w in self.windows():
                if name_matches(title, w.name, w.label) and w.extents and w.extents[2] > 0:
                    return w
            return None
        w = wait_until(lambda: f"{self.name} shows the window {title or '(any)'}; "
                               f"X windows: {self.s.x.windows()}", look, timeout, 0.05)
        if self.window_ready is None:
            self.window_ready = time.monotonic() - self.t0
        return w

    def find_all(self, role=None, name=None, visible=True, within=None, states=()):
        root = within or self.tree(everything=not visible)
        return [n for n in root.walk()
                if role_matches(role, n.role) and name_matches(name, n.name, n.label)
                and (not visible or n.visible) and set(states) <= n.states]

    def find(self, role=None, name=None, index=0, visible=True, within=None, states=(), timeout=5.0):
        """The widget with this role and name; waits for it.  `within`: a (role, name) pair."""
        last = [[]]

        def look():
            base = None
            if within:
                base = next(iter(self.find_all(*within, visible=visible)), None)
                if base is None:
                    return None
            last[0] = self.find_all(role, name, visible, base, states)
            return last[0][index] if len(last[0]) > index else None

        def complaint():
            near = [n for n in self.find_all(role, None, False)][:12]
            return (f"no {'visible ' if visible else ''}{role or 'widget'} named {name!r}"
                    f"{f' in {within}' if within else ''} (found {len(last[0])}); "
                    f"of that role: {[n.line() for n in near]}")
        return wait_until(complaint, look, timeout, 0.1)

    def gone(self, role=None, name=None, timeout=5.0):
        """Wait until no visible widget of that role and name is left."""
        wait_until(f"{role} {name!r} goes away", lambda: not self.find_all(role, name), timeout, 0.1)

    # --- where a node is on the screen ---
    def _xwins(self):
        if self._xwindows is None:
            self._xwindows = [w for w in self.s.x.windows() if w.pid == self.pid]
        return self._xwindows

    def popover_window(self, node):
        """The X window of a popover node, else None.  Popovers have no role of their own in
        GTK 4.8; the sign is an override-redirect window of exactly the node's size."""
        if not node.mapped or node.role not in ("menu", "panel", "filler", "popup menu", "tool tip"):
            return None
        _, _, w, h = node.extents
        for xw in self._xwins():
            if xw.override and any(xw.w == w * k and xw.h == h * k for k in (1, 2, 3)):
                return xw
        return None

    def origin(self, node):
        """(x, y, scale, X window): screen position of the point (0, 0) of a node's extents."""
        n = node
        while n.parent is not None and n.parent.role != "application":
            xw = self.popover_window(n)
            if xw:
                scale = xw.w // n.extents[2]
                return xw.x - n.extents[0] * scale, xw.y - n.extents[1] * scale, scale, xw
            n = n.parent
        if n.path not in self._origins:
            self._origins[n.path] = self._origin(n)
        return self._origins[n.path]

    def _origin(self, win):
        if not win.extents:
            raise UiError(f"{win} has no extents")
        return self.s.locate(self, win)

    def _check_reachable(self, node, x, y):
        """A user cannot click what another window covers, or what is off the screen."""
        sw, sh = self.s.fb.width, self.s.fb.height
        if not (0 <= x < sw and 0 <= y < sh):
            raise UiError(f"{node} at {x:.0f},{y:.0f} is outside the {sw}x{sh} screen")
        xw = self.origin(node)[3]
        popovers = {w.xid for w in (self.popover_window(n) for n in node.window.walk()) if w}
        over = [w for w in self._xwins() if w.x <= x < w.x + w.w and w.y <= y < w.y + w.h
                and (not w.override or w.xid in popovers)]  # tooltips let clicks through
        if over and over[-1].xid != xw.xid:
            raise UiError(f"{node} at {x:.0f},{y:.0f} is covered by the window {over[-1]}")

    def dump(self, full=False, hidden=False, widget=None):
        """The tree as text, one widget a line.  By default without what only does the layout."""
        lines = []

        def visit(n, depth):
            plain = n.role in ("panel", "filler", "") and n.nameless and not n.description \
                and n.parent is not None and n.parent.role != "application"
            noise = plain or (n.role in ("image", "scroll bar", "separator") and n.nameless) or (
                n.role == "label" and n.parent is not None and n.parent.label == n.label)
            show = full or (not noise and (hidden or n.visible or n.extents is None))
            if show:
                lines.append("  " * depth + n.line())
            for c in n.children:
                visit(c, depth + (1 if show else 0))

        visit(widget or self.tree(everything=hidden), 0)
        return "\n".join(lines)

    def focused(self):
        """The widget with the keyboard focus.  (GTK 4.8 cannot be told to move it by AT-SPI:
        click, or press Tab, or use a mnemonic.)"""
        ns = [n for n in self.tree().walk() if "focused" in n.states and n.visible]
        if not ns:
            raise UiError("nothing has the keyboard focus")
        active = [n for n in ns if "active" in n.window.states or "modal" in n.window.states]
        return (active or ns)[-1]

    def unnamed(self):
        """What a screen reader could not name: focusable widgets without a name of their own."""
        return [n for n in self.tree().walk()
                if n.visible and n.nameless and "focusable" in n.states
                and n.role not in ("scroll pane", "list", "panel", "filler", "page tab list")
                and not any(c.role == "label" and c.label for c in n.walk())]

    # --- doing things ---
    def click(self, role, name=None, button=1, count=1, **kw):
        """Click with the pointer in the middle of a widget, as a user does."""
        n = role if isinstance(role, Node) else self._on_top(self.find(role, name, **kw), role, name, kw)
        n = self._at_rest(n)
        self._check_reachable(n, *n.center)
        self.s.click_at(*n.center, button=button, count=count)
        return n

    @staticmethod
    def _at_rest(node):
        """`node` once it takes clicks and stays where it is: a dialog may still be growing."""
        last = [node]

        def look():
            before, last[0] = last[0], last[0].refresh()
            if "sensitive" not in last[0].states or not last[0].mapped:
                return None
            return last[0] if last[0].rect == before.rect else None

        def complaint():
            if "sensitive" not in last[0].states:
                return f"{node} is insensitive, a click does nothing"
            return f"{node} does not stay where it is"
        return wait_until(complaint, look, 3.0)

    def _on_top(self, first, role, name, kw):
        """Of widgets alike, the first that no other window covers: an open list shows the words
        of the chosen row twice, and a user means the row.  `first` if all are covered, or if
        the caller said which one."""
        if kw.get("index") or kw.get("within"):
            return first
        for node in self.find_all(role, name, kw.get("visible", True), states=kw.get("states", ())):
            try:
                self._check_reachable(node, *node.center)
                return node
            except UiError:
                continue
        return first

    def activate(self, role, name=None, action=None, **kw):
        """Do a widget's action through AT-SPI: works for covered or scrolled-out widgets too."""
        n = role if isinstance(role, Node) else self.find(role, name, **kw)
        n.activate(action)
        return n

    def drag(self, node, start, end, steps=25, duration=0.5):
        """Drag between two points of a widget: pixels or percentages relative to it."""
        x, y, w, h = node.rect
        x1, y1 = parse_point(start, w, h)
        x2, y2 = parse_point(end, w, h)
        self.s.drag_screen(x + x1, y + y1, x + x2, y + y2, steps, duration)

    def pull(self, node, point, steps=25, duration=0.5):
        """Move the pointer to a point of a widget, in steps, whatever button is down."""
        x, y, w, h = node.rect
        px, py = parse_point(point, w, h)
        self.s.x.glide(x + px, y + py, steps, duration)

    def hover(self, node):
        self.s.x.move(*node.center)

    def scroll(self, node, clicks):
        """Turn the wheel over a widget; positive = down."""
        self.s.x.move(*node.center)
        for _ in range(abs(clicks)):
            self.s.x.button(5 if clicks > 0 else 4, True)
            self.s.x.button(5 if clicks > 0 else 4, False)
            time.sleep(0.03)

    def enter(self, node, text):
        """Replace the text of an entry by typing, as a user does."""
        self.s.click_at(*node.center)
        self.s.key("ctrl+a")
        self.s.type(text)

    def menu(self, button, *items):
        """Open a menu button's popover and choose an item, through its submenus."""
        self.click("button", button)
        for item in items:
            self.click("menuitem", item)

    def focus_window(self, title=None):
        """Give the keyboard to a window (needed where no window manager does it)."""
        for xw in reversed(self.s.x.windows()):
            if xw.pid == self.pid and not xw.override and name_matches(title, xw.title):
                self.s.x.focus(xw.xid)
                time.sleep(0.1)
                return
        raise UiError(f"no X window {title!r}")

    def screenshot(self, path, content=False):
        """The screen cut to this application's windows (dialogs and popovers included), or to the
        content of its first window, without shadows and borders."""
        if content:
            self.s.x.move(self.s.fb.width - 1, self.s.fb.height - 1)  # the pointer out of the way
            self.s.settle()
            return self.s.fb.png(path, self.find("window").rect)
        ws = [w for w in self.s.x.windows() if w.pid == self.pid]
        if not ws:
            return self.s.fb.png(path)
        x0, y0 = min(w.x for w in ws), min(w.y for w in ws)
        x1, y1 = max(w.x + w.w for w in ws), max(w.y + w.h for w in ws)
        return self.s.fb.png(path, (x0, y0, x1 - x0, y1 - y0))

    # --- GAction over D-Bus: fire an action of a GtkApplication without any input event ---
    def gaction(self, name, param=None, app_id=None):
        """name: "app.quit" or "win.apply".  app_id: the application id = its bus name."""
        app_id = app_id or self.app_id()
        base = "/" + app_id.replace(".", "/").replace("-", "_")
        scope, _, act = name.partition(".")
        path = base if scope == "app" else self._window_path(app_id, base)
        args = GLib.Variant("(sava{sv})", (act, [param] if param is not None else [], {}))
        self.s.session.call(app_id, path, "org.gtk.Actions", "Activate", args)

    def _window_path(self, app_id, base):
        for i in range(1, 9):
            with contextlib.suppress(UiError):
                self.s.session.call(app_id, f"{base}/window/{i}", "org.gtk.Actions", "List")
                return f"{base}/window/{i}"
        raise UiError(f"{app_id} exports no window actions")

    def app_id(self):
        names = self.s.session.call("org.freedesktop.DBus", "/org/freedesktop/DBus",
                                    "org.freedesktop.DBus", "ListNames")[0]
        for n in names:
            if not n.startswith(":") and not n.startswith("org.freedesktop.") and n != "org.a11y.Bus":
                with contextlib.suppress(UiError):
                    if self.s.session.pid_of(n) == self.pid:
                        return n
        raise UiError(f"{self.name} owns no name on the session bus")

    def metrics(self):
        """`METRIC kind key=value…` lines of stdout as [(kind, {key: value})]."""
        out = []
        for line in self.stdout().splitlines():
            if line.startswith("METRIC "):
                _, kind, *kv = line.split()
                out.append((kind, {k: (float(v) if re.fullmatch(r"-?[\d.]+", v) else v)
                                   for k, v in (x.split("=", 1) for x in kv)}))
        return out


# ------------------------------------------------------------------------------------------------
# Command line
# ------------------------------------------------------------------------------------------------

def _session_dir(name):
    if "/" in name:
        return name
    return os.path.join(tempfile.gettempdir(), f"uidrive-{os.getuid()}-{name}")


def _step_parser():
    """One parser for the commands given to a running session and for the lines of a steps file."""
    p = argparse.ArgumentParser(prog="step", add_help=False)
    sub = p.add_subparsers(dest="cmd", required=True, metavar="STEP")

    def add(name, text, target=False, opt_name=True):
        c = sub.add_parser(name, help=text, description=text)
        if target:
            c.add_argument("role", help='role, alias (button, entry, row, menuitem, …) or "*"')
            c.add_argument("name", nargs="?" if opt_name else None,
                           help='accessible name, "/regex/" or "*"')
            c.add_argument("--nth", type=int, default=0, help="which of several, from 0")
            c.add_argument("--in", dest="within", nargs=2, metavar=("ROLE", "NAME"),
                           help="only inside of this widget")
            c.add_argument("--timeout", type=float, default=5.0)
        return c

    c = add("tree", "print the accessibility tree with screen positions")
    c.add_argument("--full", action="store_true", help="also what only does the layout")
    c.add_argument("--hidden", action="store_true", help="also what is not on the screen")
    add("windows", "print the X windows")
    c = add("resize", "resize the window's content, in logical pixels")
    c.add_argument("width", type=int)
    c.add_argument("height", type=int)
    c.add_argument("title", nargs="?")
    add("find", "print the widgets found; fails if there is none", True)
    c = add("click", "click with the pointer", True)
    c.add_argument("--button", type=int, default=1)
    c.add_argument("--double", action="store_true")
    c = add("activate", "do the widget's action through AT-SPI, without the pointer", True)
    c.add_argument("--action")
    c = add("enter", "click an entry and replace its text by typing", True, False)
    c.add_argument("text")
    c = add("type", "type text where the keyboard focus is")
    c.add_argument("text")
    c = add("key", "press key combinations: ctrl+o F5 Escape shift+Tab")
    c.add_argument("combos", nargs="+")
    c = add("drag", "drag inside of a widget; points are x,y in pixels or per cent: 30%%,50%%", True, False)
    c.add_argument("start")
    c.add_argument("end")
    c.add_argument("--steps", type=int, default=25)
    c.add_argument("--duration", type=float, default=0.5)
    c = add("hold", "press the button at a point of a widget and keep it down", True, False)
    c.add_argument("point")
    c = add("pull", "move the pointer, as slowly as a drag, to a point of a widget", True, False)
    c.add_argument("point")
    add("release", "let the button go that hold has pressed")
    c = add("scroll", "turn the wheel over a widget; positive = down", True, False)
    c.add_argument("clicks", type=int)
    add("hover", "move the pointer over a widget", True)
    add("focused", "print the widget that has the keyboard focus")
    c = add("menu", "open a menu button and choose an item, through submenus")
    c.add_argument("path", nargs="+")
    c = add("set-value", "set a slider or spin button through AT-SPI", True, False)
    c.add_argument("value", type=float)
    c = add("expect", "wait until a visible widget is as told", True)
    c.add_argument("--text", help="regex its text has")
    c.add_argument("--desc", help="regex its description has")
    c.add_argument("--value", type=float, help="its value, within 0.5 %% of its range")
    c.add_argument("--state", action="append", default=[], help="a state it has; !state: has not")
    add("gone", "wait until no such widget is visible", True)
    c = add("wait-window", "wait for a window by its title")
    c.add_argument("name", nargs="?")
    c.add_argument("--timeout", type=float, default=20.0)
    c = add("wait-out", "wait until the application's stdout has this regex")
    c.add_argument("regex")
    c.add_argument("--new", action="store_true", help="only behind the last match of a wait-out")
    c.add_argument("--timeout", type=float, default=5.0)
    c = add("wait-exit", "wait until the application has ended")
    c.add_argument("--timeout", type=float, default=10.0)
    c = add("shot", "save a PNG of the application's windows")
    c.add_argument("file")
    c.add_argument("--screen", action="store_true", help="of the whole screen")
    c.add_argument("--content", action="store_true", help="of the first window without its frame")
    c = add("pixel", "print the colour of a screen pixel as r,g,b")
    c.add_argument("x", type=int)
    c.add_argument("y", type=int)
    c = add("action", "fire a GAction over D-Bus: app.NAME or win.NAME")
    c.add_argument("name")
    c.add_argument("param", nargs="?", help="GVariant text, e.g. \"'disk'\"")
    c = add("exec", "run a command in the session to its end (a second instance, for example)")
    c.add_argument("--timeout", type=float, default=20.0)
    c.add_argument("argv", nargs=argparse.REMAINDER)
    c = add("settle", "wait until the screen stops changing")
    c.add_argument("--timeout", type=float, default=3.0)
    c = add("sleep", "do nothing")
    c.add_argument("seconds", type=float)
    c = add("log", "print the application's stdout (--err: stderr)")
    c.add_argument("--err", action="store_true")
    add("metrics", "print start-up times, and the METRIC lines of the application")
    add("complaints", "fail if the application's stderr has GTK warnings, criticals or a panic")
    add("unnamed", "fail if a visible focusable widget has no accessible name")
    return p


def run_step(s, app, a):
    """Do one parsed step; return what to print, or None."""
    role, name = getattr(a, "role", None), getattr(a, "name", None)
    kw = {}
    if role is not None:
        kw = dict(index=a.nth, within=tuple(a.within) if a.within else None, timeout=a.timeout)
    node = (lambda: app.find(role, name, **kw))
    match a.cmd:
        case "tree":
            return app.dump(full=a.full, hidden=a.hidden)
        case "windows":
            return "\n".join(map(repr, s.x.windows()))
        case "resize":
            s.resize(app, a.width, a.height, a.title)
            return app.find("window", a.title).line()
        case "find":
            node()
            base = app.find(*a.within) if a.within else None
            return "\n".join(n.line() for n in app.find_all(role, name, within=base))
        case "click":
            app.click(role, name, button=a.button, count=2 if a.double else 1, **kw)
        case "activate":
            app.activate(node(), action=a.action)
        case "enter":
            app.enter(node(), a.text)
        case "type":
            s.type(a.text)
        case "key":
            s.key(*a.combos)
        case "drag":
            app.drag(node(), a.start, a.end, a.steps, a.duration)
        case "hold":
            app.pull(node(), a.point, steps=1)
            s.x.button(1, True)
        case "pull":
            app.pull(node(), a.point)
        case "release":
            s.x.button(1, False)
        case "scroll":
            app.scroll(node(), a.clicks)
        case "hover":
            app.hover(node())
        case "focused":
            return app.focused().line()
        case "menu":
            app.menu(*a.path)
        case "set-value":
            node().set_value(a.value)
        case "expect":
            return expect(app, node, a).line()
        case "gone":
            app.gone(role, name, a.timeout)
        case "wait-window":
            return app.wait_window(a.timeout, name).line()
        case "wait-out":
            return app.wait_text(a.regex, a.timeout, a.new).group(0)
        case "wait-exit":
            app.wait_exit(a.timeout)
        case "shot":
            return s.screenshot(a.file) if a.screen else app.screenshot(a.file, a.content)
        case "pixel":
            return ",".join(map(str, s.fb.pixel(a.x, a.y)))
        case "action":
            app.gaction(a.name, GLib.Variant.parse(None, a.param, None, None) if a.param else None)
        case "exec":
            rc, out, err = s.run([x for i, x in enumerate(a.argv) if i or x != "--"],
                                 timeout=a.timeout)
            if rc != 0:
                raise UiError(f"exit status {rc}\n{out}{err}")
            return out + err
        case "settle":
            if not s.settle(timeout=a.timeout):
                raise UiError(f"the screen still changes after {a.timeout:g} s")
        case "sleep":
            time.sleep(a.seconds)
        case "log":
            return app.stderr() if a.err else app.stdout()
        case "metrics":
            out = [f"{k} {v * 1000:.0f} ms" for k, v in (("first pixels", app.first_pixels),
                                                        ("window in tree", app.window_ready)) if v]
            return "\n".join(out + [x for x in app.stdout().splitlines() if x.startswith("METRIC ")])
        case "complaints":
            if app.complaints():
                raise UiError("\n".join(app.complaints()))
        case "unnamed":
            if app.unnamed():
                raise UiError("without a name: " + "; ".join(n.line() for n in app.unnamed()))
    return None


def expect(app, node, a):
    def look():
        n = node()
        ok = ((a.text is None or re.search(a.text, n.text if n.text is not None else n.label))
              and (a.desc is None or re.search(a.desc, n.description))
              and (a.value is None or (n.value and abs(n.value[1] - a.value)
                                       <= 0.005 * max(1e-9, n.value[2] - n.value[0])))
              and all((st[1:] not in n.states) if st.startswith("!") else (st in n.states)
                      for st in a.state))
        return n if ok else None
    return wait_until(lambda: f"it is as expected; it is: {node().line()}", look, a.timeout, 0.1)


def run_file(path, s, app, artifacts, defines=None):
    """Run a steps file; return (passed, failed).  It stops at the first step that fails.
    In its words $APP is the application's path, $HERE the file's folder, $TMP a scratch folder;
    `defines` adds to these or replaces them."""
    parser, passed = _step_parser(), 0
    names = {"$APP": app.argv[0], "$HERE": os.path.dirname(os.path.abspath(path)), "$TMP": s.dir}
    names.update({f"${k}": v for k, v in (defines or {}).items()})
    with open(path, encoding="utf-8") as f:
        lines = f.read().splitlines()
    for no, line in enumerate(lines, 1):
        words = shlex.split(line, comments=True)
        if not words:
            continue
        for k, v in names.items():
            words = [w.replace(k, v) for w in words]
        t = time.monotonic()
        try:
            out = run_step(s, app, parser.parse_args(words))
        except (UiError, GLib.Error, OSError) as e:
            print(f"{path}:{no}: FAILED: {line.strip()}\n    " + str(e).replace("\n", "\n    "))
            os.makedirs(artifacts, exist_ok=True)
            shot = s.screenshot(os.path.join(artifacts, "failed.png"))
            print(f"    screen: {shot}")
            with contextlib.suppress(UiError):
                tree = os.path.join(artifacts, "failed-tree.txt")
                with open(tree, "w", encoding="utf-8") as f:
                    f.write(app.dump(hidden=True))
                print(f"    tree: {tree}")
            print("    stderr: " + app.stderr()[-1500:].replace("\n", "\n    "))
            return passed, 1
        passed += 1
        print(f"ok {time.monotonic() - t:6.2f}s  {line.strip()}")
        if out and words[0] in ("metrics", "find", "tree", "windows", "pixel", "log"):
            print("    " + str(out).rstrip().replace("\n", "\n    "))
    return passed, 0


def main(argv=None):
    argv = sys.argv[1:] if argv is None else list(argv)
    app_argv = []
    if "--" in argv and {"start", "run", "wrap"} & set(argv[:3]):
        i = argv.index("--")
        argv, app_argv = argv[:i], argv[i + 1:]
    steps = _step_parser()
    p = argparse.ArgumentParser(
        prog="uidrive.py", formatter_class=argparse.RawDescriptionHelpFormatter,
        description=__doc__.split("\n\n")[0],
        epilog="steps, for a started session or as lines of a steps file:\n" + "\n".join(
            f"  {k:12} {v.description}".replace("%%", "%")
            for k, v in steps._subparsers._group_actions[0].choices.items())
        + "\n\n`uidrive.py STEP --help` is `STEP -h` in a steps file: see README.md for examples.")
    p.add_argument("--session", default="default", help="name or directory of the session")
    p.add_argument("command", help="start | run | wrap | stop | a step")
    p.add_argument("rest", nargs=argparse.REMAINDER)
    a = p.parse_args(argv)
    workdir = _session_dir(a.session)

    if a.command in ("start", "run", "wrap"):
        o = argparse.ArgumentParser(prog=f"uidrive.py {a.command}")
        if a.command == "run":
            o.add_argument("steps", help="the steps file")
            o.add_argument("--artifacts", default="uidrive-artifacts",
                           help="where the screenshot and the tree of a failure go")
            o.add_argument("--define", action="append", default=[], metavar="K=V",
                           help="$K means V in the steps; $TMP may be redefined")
        elif a.command == "start":
            o.add_argument("--life", type=float, default=3600, metavar="S",
                           help="the session ends by itself after S seconds")
        o.add_argument("--size", default="1280x900")
        o.add_argument("--wm", default="auto", help="auto, none, a command line or one of "
                       + ", ".join(WM_COMMANDS))
        o.add_argument("--env", action="append", default=[], metavar="K=V",
                       help="for the application; K= alone removes K")
        o.add_argument("--setting", action="append", default=[], metavar="K=V",
                       help="for GTK's settings.ini")
        o.add_argument("--services", action="store_true", help="let D-Bus start installed services")
        o.add_argument("--no-animations", action="store_true")
        o.add_argument("--timeout", type=float, default=30.0, help="for the first window")
        o.add_argument("--cwd")
        b = o.parse_args(a.rest)
        wm = b.wm
        if wm == "auto":
            wm = next((w for w in ("metacity", "xfwm4", "openbox") if shutil.which(w)), None)
        elif wm == "none":
            wm = None
        split = lambda kvs: dict(kv.split("=", 1) if "=" in kv else (kv, "") for kv in kvs)
        env = {k: v or None for k, v in split(b.env).items()}
        opts = dict(size=b.size, wm=wm, services=b.services, animations=not b.no_animations,
                    settings=split(b.setting))
        if not app_argv:
            o.error("give the application after --")
        if a.command == "wrap":
            with Session(**opts) as s:
                return subprocess.call(app_argv, env=os.environ | s.desktop_env() | env, cwd=b.cwd)
        if a.command == "run":
            with Session(**opts) as s:
                try:
                    app = s.launch(app_argv, env, cwd=b.cwd, timeout=b.timeout)
                except UiError:
                    os.makedirs(b.artifacts, exist_ok=True)
                    s.screenshot(os.path.join(b.artifacts, "failed.png"))
                    raise
                passed, failed = run_file(b.steps, s, app, b.artifacts, split(b.define))
            print(f"{passed} passed, {failed} failed")
            return 1 if failed else 0
        if os.path.exists(os.path.join(workdir, "session.json")):
            raise UiError(f"the session {a.session!r} exists; `uidrive.py stop` ends it")
        os.makedirs(workdir, mode=0o700, exist_ok=True)
        s = Session(keep=True, workdir=workdir, **opts)
        try:
            s._spawn("life", [sys.executable, os.path.abspath(__file__), "--session", workdir,
                              "_reap", str(b.life)])
            app = s.launch(app_argv, env, cwd=b.cwd, timeout=b.timeout)
        except BaseException:
            s.close()
            raise
        print(f"session {a.session!r}: display {s.display}, application pid {app.pid}, "
              f"first pixels after {app.first_pixels * 1000:.0f} ms; files in {workdir}")
        return 0

    if a.command == "_reap":
        time.sleep(float(a.rest[0]))
        Session.attach(workdir).close()
        return 0
    if not os.path.exists(os.path.join(workdir, "session.json")):
        raise UiError(f"no session {a.session!r}; begin with `uidrive.py start -- APPLICATION …`")
    s = Session.attach(workdir)
    if a.command == "stop":
        s.close()
        return 0
    if not s.apps:
        raise UiError("the session has no application")
    out = run_step(s, s.apps[-1], steps.parse_args([a.command, *a.rest]))
    if out:
        print(out)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UiError as e:
        sys.exit(f"uidrive: {e}")
    except KeyboardInterrupt:
        sys.exit(130)
