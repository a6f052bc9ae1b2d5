## SPDX-License-Identifier: LGPL-2.1-or-later
##
## What the Debian package and AppStream need; included by Makefile.am.
