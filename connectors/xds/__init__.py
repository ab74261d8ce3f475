"""XDS metadata shared by the DMP (ITI-41) and MSSanté (IHE_XDM.ZIP): model, mapping, tables, ebRIM."""
