"""Texts that would run as a script if a page took one of them for markup, a link, a template or a style.

Source: the kinds of the OWASP cheat sheet on evading filters of cross-site scripting, each spelt in several ways.
"""

from __future__ import annotations

import base64
import html
from itertools import cycle, islice
from urllib.parse import quote

COUNT = 300
RUN = "globalThis.escaped=1"
"""What each tries: whether it succeeded can be read from the page afterwards."""

ELEMENTS = (
    f"<script>{RUN}</script>",
    f"<SCRIPT/x>{RUN}</SCRIPT>",
    f"<scr<script>ipt>{RUN}</scr</script>ipt>",
    f"<script src=data:text/javascript,{RUN}></script>",
    f"<script type=module>{RUN}</script>",
    f"<img src=x onerror={RUN}>",
    f"<img src=x:x onerror={RUN}//",
    f'<img src="x" onerror = "{RUN}">',
    f"<IMG SRC=x ONERROR={RUN}>",
    f"<img/src=x/onerror={RUN}>",
    f"<img srcset=x onerror={RUN}>",
    f"<image src=x onerror={RUN}>",
    f"<svg onload={RUN}>",
    f"<svg/onload={RUN}>",
    f"<svg><script>{RUN}</script></svg>",
    f"<svg><a xlink:href=javascript:{RUN}><text x=20 y=20>x</text></a></svg>",
    f"<svg><animate onbegin={RUN} attributeName=x dur=1s>",
    f"<svg><set onbegin={RUN} attributename=x>",
    f"<svg><foreignObject><img src=x onerror={RUN}></foreignObject></svg>",
    f"<svg><use href=\"data:image/svg+xml,<svg id='x' onload='{RUN}'/>#x\">",
    f"<math><mtext><table><mglyph><style><img src=x onerror={RUN}>",
    f"<math href=javascript:{RUN}>x</math>",
    f"<body onload={RUN}>",
    f"<body onpageshow={RUN}>",
    f"<iframe srcdoc='<script>parent.{RUN}</script>'></iframe>",
    f"<iframe src=javascript:parent.{RUN}></iframe>",
    f"<frameset onload={RUN}>",
    f"<object data=javascript:{RUN}>",
    f"<embed src=javascript:{RUN}>",
    f"<video src=x onerror={RUN}></video>",
    f"<video><source onerror={RUN}></video>",
    f"<audio src=x onerror={RUN}>",
    f"<details open ontoggle={RUN}>x</details>",
    f"<input autofocus onfocus={RUN}>",
    f"<select autofocus onfocus={RUN}>",
    f"<textarea autofocus onfocus={RUN}>",
    f"<marquee onstart={RUN}>x</marquee>",
    f"<form action=javascript:{RUN}><input type=submit>",
    f"<button formaction=javascript:{RUN}>x</button>",
    f"<a href=javascript:{RUN}>x</a>",
    f"<x onanimationstart={RUN} style=animation:turn>x</x>",
    f"<x contenteditable autofocus onfocus={RUN}>x</x>",
    f"<dialog open onclose={RUN}></dialog>",
    f"<style>@import 'data:text/css,x'</style><x onclick={RUN}>",
    f"<link rel=stylesheet href=data:text/css,x onload={RUN}>",
    f"<meta http-equiv=refresh content=0;url=javascript:{RUN}>",
    "<base href=https://example.invalid/>",
    f"<template><img src=x onerror={RUN}></template>",
    f"<noscript><p title='</noscript><img src=x onerror={RUN}>'>",
    f"<xmp><img src=x onerror={RUN}></xmp>",
    f"<!--><img src=x onerror={RUN}>-->",
    f"<![CDATA[><img src=x onerror={RUN}>]]>",
    f"<?xml version='1.0'?><x:script xmlns:x='http://www.w3.org/1999/xhtml'>{RUN}</x:script>",
)
ADDRESSES = (
    f"javascript:{RUN}",
    f"JaVaScRiPt:{RUN}",
    f" javascript:{RUN}",
    f"java\tscript:{RUN}",
    f"javascript://%0a{RUN}",
    f"&#106;avascript:{RUN}",
    f"javascript&colon;{RUN}",
    f"data:text/html,<script>{RUN}</script>",
    f"data:text/html;base64,{base64.b64encode(f'<script>{RUN}</script>'.encode()).decode()}",
    f"data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' onload='{RUN}'/>",
    f"vbscript:{RUN}",
    f"blob:{RUN}",
    "//example.invalid/x.js",
    "https://example.invalid/#/video/x",
)
TEMPLATES = (
    f"{{{{constructor.constructor('{RUN}')()}}}}",
    f"${{{RUN}}}",
    f"`${{{RUN}}}`",
    f"#{{{RUN}}}",
    f"<%= {RUN} %>",
    f"[[${{{RUN}}}]]",
    f"{{%raw%}}{RUN}{{%endraw%}}",
    f"@({RUN})",
)
STYLES = (
    f"x;background:url(javascript:{RUN})",
    f"expression({RUN})",
    f"}}*{{background:url(//example.invalid/?{RUN})}}",
    f"</style><script>{RUN}</script>",
)
OURS = (  # what this page itself gives a meaning
    "#/video/x",
    "#/failures",
    "#key=fl_0",
    "../../v1/session",
    "..%2f..%2fv1%2fsession",
    "constructor",
    "__proto__",
    "toString",
    "hasOwnProperty",
    "undefined",
    "cat?x=1&y=2#z",
    "100%",
    "%",
    "%00",
    "%E0%A4%A",
)
BREAKOUTS = (
    '"><', "'><", "</script><", "</title><", "</textarea><", "-->", "]]>", '");', "');", "*/", "\\", "`", '" x="',
)  # fmt: skip
DISGUISES = (
    lambda text: html.escape(text),
    lambda text: html.escape(html.escape(text)),
    lambda text: "".join(f"&#{ord(letter)};" for letter in text),
    lambda text: "".join(f"&#x{ord(letter):x};" for letter in text),
    lambda text: quote(text, safe=""),
    lambda text: quote(quote(text, safe=""), safe=""),
    lambda text: text.replace("<", "\\u003c").replace(">", "\\u003e"),
    lambda text: text.replace("<", "\\x3c").replace(">", "\\x3e"),
    lambda text: text.replace("<", "\uff1c").replace(">", "\uff1e"),  # letters that fold to brackets
    lambda text: text.replace("<", "\u2039").replace(">", "\u203a"),
    lambda text: text.replace("<", "+ADw-").replace(">", "+AD4-"),  # UTF-7
    lambda text: text.replace("<", "<\u200b"),
    lambda text: text.replace("script", "scr\u00adipt").replace("on", "o\u200dn"),
    lambda text: f"\u202e{text}\u202c",  # runs from right to left
    lambda text: f"\u2067{text}",  # an isolate that nobody closes
    lambda text: f"{text}\ufffd\ufeff",
    lambda text: f"猫{text}🐈\u0301",
    lambda text: text.upper(),
)


def injections(count: int = COUNT) -> list[str]:
    """`count` different texts, none longer than an id may be."""
    plain = [*ELEMENTS, *ADDRESSES, *TEMPLATES, *STYLES, *OURS]
    broken_out = [f"x{start}{element}" for element, start in zip(ELEMENTS * 2, cycle(BREAKOUTS), strict=False)]
    disguised = [disguise(text) for text, disguise in zip((*ELEMENTS, *ADDRESSES) * 3, cycle(DISGUISES), strict=False)]
    texts = dict.fromkeys(text for text in (*plain, *broken_out, *disguised) if len(text) <= 190)
    found = list(islice(texts, count))
    if len(found) < count:
        raise ValueError(f"{count} texts are wanted, {len(found)} are made")
    return found
