// The dashboard reads and acts without this. It adds: uploads with progress, a question before what cannot be undone,
// and that what somebody has opened stays open while the page renews itself.
"use strict";

document.addEventListener("submit", (event) => {
  const question = event.submitter?.dataset.confirm;
  if (question && !window.confirm(question)) {
    event.preventDefault();
  }
});

let opened = [];
document.addEventListener("htmx:beforeSwap", () => {
  opened = [...document.querySelectorAll("details[open][data-key]")].map((one) => one.dataset.key);
});
document.addEventListener("htmx:afterSwap", () => {
  for (const one of document.querySelectorAll("details[data-key]")) {
    one.open = opened.includes(one.dataset.key);
  }
});

const upload = document.getElementById("upload");
if (upload) {
  upload.hidden = false;
  const said = document.getElementById("upload-said");
  const bar = upload.querySelector("progress");
  upload.addEventListener("submit", (event) => {
    event.preventDefault();
    const file = upload.elements.file.files[0];
    if (!file) {
      return;
    }
    // XMLHttpRequest, because fetch tells nothing of an upload's progress.
    const request = new XMLHttpRequest();
    request.open("POST", "/api/v1/packages");
    request.setRequestHeader("content-type", "application/octet-stream");
    request.setRequestHeader("x-csrf-token", upload.elements.csrf.value);
    bar.hidden = false;
    request.upload.addEventListener("progress", (sent) => {
      bar.max = sent.total;
      bar.value = sent.loaded;
    });
    request.addEventListener("load", () => {
      if (request.status < 300) {
        window.location.reload();
        return;
      }
      bar.hidden = true;
      let detail = `the server answered ${request.status}`;
      try {
        detail = JSON.parse(request.responseText).detail;
      } catch {
        // Not from the server itself: the status has to do.
      }
      said.textContent = detail;
    });
    request.addEventListener("error", () => {
      bar.hidden = true;
      said.textContent = "The upload broke off. Is the server still there?";
    });
    request.send(file);
  });
}
