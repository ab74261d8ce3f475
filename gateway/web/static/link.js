// The one-time link's secret stands after `#`, which a browser sends to nobody: into the form, and out of the address.
"use strict";
const code = document.getElementById("code");
if (code && location.hash.length > 1) {
  code.value = location.hash.slice(1);
  history.replaceState(null, "", location.pathname);
}
