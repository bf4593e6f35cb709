"""Brushwire in Krita: a docker that paints into the document. `extension.register` is called by Krita's plugin loader.

`canvas` alone touches Krita's pixels; `workspace` knows documents and jobs; the others are widgets, or know no Krita.
"""
