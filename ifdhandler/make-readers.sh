#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Makes from the one list of readers what needs it:
#   make-readers.sh readers.list VERSION PCSCD header            src/reader/readers_generated.h, on standard output
#   make-readers.sh readers.list VERSION PCSCD template FILE.in  FILE, with the @NAMES@ of lists and of the build put in
# The templates are Info.plist, the udev rules and the AppStream metainfo. A line of the list that is not as its head says
# ends the build: a reader that is silently left out of one of the files would be seen by udev but not by pcscd, or the
# other way round.
set -eu
LC_ALL=C
export LC_ALL
list=$1 version=$2 pcscd=$3 kind=$4 template=${5:-}

case $kind in
header) set -- "$list" ;;
template) set -- "$list" "$template" ;;
*) echo "make-readers.sh: what is '$kind'?" >&2; exit 2 ;;
esac

exec awk -v kind="$kind" -v version="$version" -v pcscd="$pcscd" '
function fail(why) {
    printf "%s:%d: %s\n", FILENAME, FNR, why > "/dev/stderr"
    failed = 1
    exit 1
}
function is_id(s) { return length(s) == 4 && s ~ /^[0-9A-F]+$/ }

# the list
# mawk and gawk both leave an unset n as "", which is no index: begin at 0.
BEGIN { n = 0 }
FNR == NR && (/^#/ || /^[ \t]*$/) { next }
FNR == NR {
    if (split($0, f, ":") != 4) fail("not VID:PID:family:name")
    if (!is_id(f[1]) || !is_id(f[2])) fail("VID and PID are four hex digits in capitals")
    if (f[3] != "a" && f[3] != "v") fail("family is a or v")
    if (f[4] !~ /^[A-Za-z0-9][A-Za-z0-9 .()_-]*$/ || length(f[4]) > 100) fail("a name is plain ASCII, up to 100")
    if ((f[1] ":" f[2]) in seen) fail("this reader is in the list twice")
    seen[f[1] ":" f[2]] = 1
    vid[n] = f[1]; pid[n] = f[2]; family[n] = f[3]; name[n] = f[4]; n++
    next
}

# the template, line by line
/^@VENDORS@$/  { for (i = 0; i < n; i++) printf "\t\t<string>0x%s</string>\n", vid[i]; next }
/^@PRODUCTS@$/ { for (i = 0; i < n; i++) printf "\t\t<string>0x%s</string>\n", pid[i]; next }
/^@NAMES@$/    { for (i = 0; i < n; i++) printf "\t\t<string>%s</string>\n", name[i]; next }
/^@MODALIASES@$/ { for (i = 0; i < n; i++) printf "    <modalias>usb:v%sp%sd*</modalias>\n", vid[i], pid[i]; next }
/^@USB_RULES@$/ {
    for (i = 0; i < n; i++)
        printf "# %s\nSUBSYSTEM==\"usb\", ATTR{idVendor}==\"%s\", ATTR{idProduct}==\"%s\", GOTO=\"ifd_purse_group\"\n",
               name[i], tolower(vid[i]), tolower(pid[i])
    next
}
/^@HIDRAW_RULES@$/ {
    for (i = 0; i < n; i++)
        if (family[i] == "v")
            printf "ATTRS{idVendor}==\"%s\", ATTRS{idProduct}==\"%s\", GOTO=\"ifd_purse_group\"\n", tolower(vid[i]),
                   tolower(pid[i])
    next
}
{ gsub(/@VERSION@/, version); gsub(/@PCSCD@/, pcscd); print }

END {
    if (failed) exit 1
    if (!n) { print "the list of readers is empty" > "/dev/stderr"; exit 1 }
    if (kind != "header") exit 0
    print "/* SPDX-License-Identifier: LGPL-2.1-or-later"
    print " *"
    print " * Made from ifdhandler/readers.list: the USB readers of both families. For src/reader/families.c alone."
    print " */"
    print "#ifndef PURSE_READERS_GENERATED_H"
    print "#define PURSE_READERS_GENERATED_H\n"
    print "#include \"base/settings.h\"\n"
    print "static const struct usb_id reader_list[] = {"
    for (i = 0; i < n; i++)
        printf "    {0x%s, 0x%s, \047%s\047}, /* %s */\n", vid[i], pid[i], family[i], name[i]
    print "};\n\n#endif"
}
' "$@"
