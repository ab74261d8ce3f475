"""XDS metadata shared by the DMP (ITI-41) and MSSanté (IHE_XDM.ZIP): pure model, mapping, tables and ebRIM."""
