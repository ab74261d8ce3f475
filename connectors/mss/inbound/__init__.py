"""MSSanté received: a mail with IHE_XDM.ZIP becomes messages for the DPI; its answers become an MDN or an error mail.

Purpose: the pure room of the flow "mail to DPI" (volet "Transmission au LPS d'un document CDA provenant d'un courriel
MSSanté" v1.1). `reading.receive` goes from the mail's bytes to documents and findings; `mdm.build` makes one message
for one document; `answers.judge` reads the DPI's ACK; `reports` makes the MDN and the error mail.
Guarantee: no I/O, no clock; nothing raises for what is in a mail or in an ACK; nothing is written to disk; one
rejecting finding keeps every document of the mail from the DPI (a person integrates it by hand from the error mail).
Source: spec/mssante.md §1.5, §1.6, §2.
"""
