/* A new campaign: the file with its progress, the values of a chosen template, columns into texts.
   Everything here works without it, by the same forms. */
"use strict";

for (const form of $$("form[data-upload]")) {
  const input = $("input[type=file]", form), box = $(".upload-progress", form), bar = $("progress", box), said = $("[role=status]", box), drop = $(".drop", form);
  const number = new Intl.NumberFormat(document.documentElement.lang, { maximumFractionDigits: 1 });
  $(".drop-hint", form).hidden = false;
  for (const name of ["dragenter", "dragover"]) drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
  for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files.length) { input.files = event.dataTransfer.files; input.dispatchEvent(new Event("change")); }
  });
  form.addEventListener("submit", (event) => {
    if (!input.files.length) return;
    event.preventDefault();
    if (form.sending) return;
    form.sending = true;
    const request = new XMLHttpRequest();
    const fail = () => { form.sending = false; bar.value = 0; said.textContent = form.dataset.failed; };
    box.hidden = false;
    said.textContent = form.dataset.sending;
    request.upload.addEventListener("progress", (sent) => {
      bar.value = sent.total ? (100 * sent.loaded) / sent.total : 0;
      said.textContent = `${number.format(sent.loaded / 1048576)} / ${number.format(sent.total / 1048576)} MB`;
    });
    request.upload.addEventListener("load", () => { bar.removeAttribute("value"); said.textContent = form.dataset.reading; });
    request.addEventListener("error", fail);
    request.addEventListener("abort", fail);
    request.addEventListener("load", () => {
      if (request.status < 300) { location.assign(request.responseURL); return; }
      const main = parsed(request.responseText).getElementById("main");
      if (!main) { fail(); return; }
      form.sending = false;
      box.hidden = true;
      const problem = $(".problem", main);
      $(".problem")?.remove();
      if (problem) { form.before(problem); problem.focus(); $("details", form).open = true; } else { said.textContent = main.textContent.trim().slice(0, 300); box.hidden = false; }
    });
    request.open("POST", form.action);
    request.setRequestHeader("Accept", "text/html");
    request.send(new FormData(form));
  });
}

// Another template has other values.
for (const button of $$("button[data-for]")) {
  document.getElementById(button.dataset.for)?.addEventListener("change", () => button.form.requestSubmit(button));
}

// A click on a column's name writes it where the cursor was last.
const chips = $("[data-chips]");
if (chips) {
  let last = null;
  document.addEventListener("focusin", (event) => { if (event.target.matches("[data-insert]")) last = event.target; });
  for (const code of $$("code", chips)) {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", className: "chip", textContent: code.textContent });
    button.addEventListener("click", () => {
      const field = last?.isConnected && last.offsetParent ? last : $$("[data-insert]").find((each) => each.offsetParent);
      if (!field) return;
      field.setRangeText(code.textContent, field.selectionStart ?? field.value.length, field.selectionEnd ?? field.value.length, "end");
      field.focus();
    });
    code.replaceWith(button);
  }
}
