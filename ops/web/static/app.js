/* The console in the browser. Every page works without it for reading and for forms; it keeps pages up to date,
   draws charts from their tables, and hears keys. No text of a page is made here but what data- attributes hold. */
"use strict";

const $ = (selector, from = document) => from.querySelector(selector);
const $$ = (selector, from = document) => [...from.querySelectorAll(selector)];

// Pages of ours, which this address rendered and escaped, are the only texts that become elements.
const policy = window.trustedTypes ? trustedTypes.createPolicy("bulksend", { createHTML: (text) => text }) : { createHTML: (text) => text };
const parsed = (text) => new DOMParser().parseFromString(policy.createHTML(text), "text/html");

/* -- live: what has changed is asked for again ------------------------------------------------------------------ */

const live = (() => {
  const bar = $("#live-bar");
  const regions = () => $$("[data-live]");
  if (!bar || !regions().length || !window.EventSource) return { refresh: () => location.reload() };
  const text = $(".live-text", bar), button = $("button", bar);
  const paused_key = `paused ${location.pathname}`;
  const clock = new Intl.DateTimeFormat(bar.dataset.language, { timeZone: bar.dataset.zone, hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
  let source = null, at = null, failures = 0, timer = 0, watch = 0, running = false, again = false, leaving = false;
  const is_paused = () => sessionStorage.getItem(paused_key) === "1";

  const show = (is_lost) => {
    bar.hidden = false;
    bar.classList.toggle("lost", is_lost);
    const time = at ? clock.format(at) : "–";
    const said = is_paused() ? bar.dataset.paused : is_lost ? bar.dataset.lost : bar.dataset.at;
    const now = said.replace("{time}", time);
    if (text.textContent !== now) text.textContent = now;
    button.textContent = is_paused() ? button.dataset.resume : button.dataset.pause;
  };

  const close = () => { source?.close(); source = null; clearTimeout(timer); clearTimeout(watch); };

  const lost = () => {
    close();
    if (leaving) return;
    show(true);
    // 1, 2, 4 … 30 s, each between half and all of it: not all tabs come back at once.
    const pause_s = Math.min(30, 2 ** failures) * (0.5 + Math.random() / 2);
    failures += 1;
    timer = setTimeout(open, pause_s * 1000);
  };

  // A connection that is silent for three of its heartbeats is none, and so is one that is not answered.
  const PATIENCE_MS = 35_000;
  const await_news = () => { clearTimeout(watch); watch = setTimeout(lost, PATIENCE_MS); };

  const heard = (time) => {
    failures = 0;
    if (time) at = new Date(time);
    show(!time);
    await_news();
  };

  function open() {
    close();
    if (is_paused() || document.hidden) return;
    const topics = new Set(regions().flatMap((region) => region.dataset.live.split(" ").filter(Boolean)));
    // What has changed since the page was made, and before this stream begins, is told as well.
    source = new EventSource(`/live?${[...topics].map((topic) => `topic=${encodeURIComponent(topic)}`).join("&")}&since=${$("#main").dataset.madeAt}`);
    const was_away = failures > 0;
    source.addEventListener("alive", (event) => { if (was_away && failures) refresh(); heard(JSON.parse(event.data)); });
    source.addEventListener("changed", (event) => { const [time, topics] = JSON.parse(event.data); heard(time); refresh(topics); });
    source.addEventListener("over", () => { close(); location.reload(); });
    source.onerror = lost;
    await_news();
  }

  async function refresh(topics) {
    if (running) { again = true; return; }
    running = true;
    const patience = new AbortController(), late = setTimeout(() => patience.abort(), PATIENCE_MS);
    try {
      const answer = await fetch(location.href, { headers: { "X-Live": "1", Accept: "text/html" }, redirect: "error", signal: patience.signal });
      if (answer.status === 401) { location.reload(); return; }
      if (answer.ok) put(parsed(await answer.text()));
      else if (answer.status >= 500) lost();
    } catch { if (!leaving) lost(); } finally {
      clearTimeout(late);
      running = false;
      if (again) { again = false; setTimeout(refresh, 500); }
    }
  }

  const is_busy = (region) => {
    const active = document.activeElement;
    return $("dialog[open]", region) || (region.contains(active) && active.matches("input:not([type=checkbox],[type=radio]), select, textarea"));
  };

  function put(fresh) {
    $("#main").dataset.madeAt = fresh.getElementById("main").dataset.madeAt;
    for (const region of regions()) {
      const next = region.id && fresh.getElementById(region.id);
      if (!next || is_busy(region) || region.rendered === next.innerHTML) continue;
      const is_first = region.rendered === undefined;
      const focus = region.contains(document.activeElement) ? document.activeElement : null;
      const path = focus && (focus.id ? `#${CSS.escape(focus.id)}` : focus.getAttribute("href") ? `[href="${CSS.escape(focus.getAttribute("href"))}"]` : null);
      const opened = new Set($$("details[open][id]", region).map((each) => each.id));
      const ticked = new Set($$("input[type=checkbox]:checked", region).map((each) => `${each.name} ${each.value}`));
      const scrolled = $$(".table-box", region).map((box) => box.scrollLeft);
      region.rendered = next.innerHTML;
      region.dataset.live = next.dataset.live;
      region.replaceChildren(...next.childNodes);
      for (const id of opened) { const each = document.getElementById(id); if (each) each.open = true; }
      for (const each of $$("input[type=checkbox]", region)) if (ticked.has(`${each.name} ${each.value}`)) each.checked = true;
      $$(".table-box", region).forEach((box, n) => { box.scrollLeft = scrolled[n] ?? 0; });
      if (path) $(path, region)?.focus({ preventScroll: true });
      if (!is_first) region.dispatchEvent(new CustomEvent("fresh", { bubbles: true }));
      charts(region);
    }
  }

  button.addEventListener("click", () => {
    if (is_paused()) { sessionStorage.removeItem(paused_key); refresh(); open(); } else { sessionStorage.setItem(paused_key, "1"); close(); }
    show(false);
  });
  // A hidden tab holds no connection: browsers have six for an address, whatever the number of tabs.
  document.addEventListener("visibilitychange", () => { if (document.hidden) close(); else if (!is_paused()) { refresh(); open(); } });
  addEventListener("pagehide", () => { leaving = true; close(); });
  addEventListener("pageshow", (event) => { leaving = false; if (event.persisted) { refresh(); open(); } });
  show(false);
  open();
  return { refresh };
})();

/* -- charts: drawn from their tables ---------------------------------------------------------------------------- */

function charts(from) {
  for (const figure of $$("figure[data-chart]", from)) draw(figure);
}

function token(name) { return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim(); }

const STEPS = [1, 5, 10, 30, 60, 300, 600, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800, 2_592_000];

/* How far a zone is ahead of UTC at an instant, in seconds. */
function offset_s(zone, at) {
  const parts = new Intl.DateTimeFormat("en", { timeZone: zone, hourCycle: "h23", year: "numeric", month: "numeric", day: "numeric", hour: "numeric", minute: "numeric", second: "numeric" }).formatToParts(at * 1000);
  const of = Object.fromEntries(parts.map((part) => [part.type, Number(part.value)]));
  return Date.UTC(of.year, of.month - 1, of.day, of.hour, of.minute, of.second) / 1000 - Math.floor(at);
}

function draw(figure) {
  const plot = $(".plot", figure), table = $("details table", figure);
  if (!plot || !table || !window.uPlot) return;
  figure.drawn?.destroy();
  figure.drawn = null;
  const rows = $$("tbody tr", table).map((row) => $$("[data-v]", row).map((cell) => cell.dataset.v));
  if (!rows.length) return;
  const language = document.documentElement.lang, unit = figure.dataset.unit, zone = figure.dataset.zone;
  const is_line = figure.dataset.chart === "line";
  const heads = $$("thead th", table).map((head) => head.textContent.trim());
  const tones = figure.dataset.tones.split(" ").filter(Boolean);
  const figures = new Intl.NumberFormat(language, { notation: "compact", maximumFractionDigits: 1 });
  const exact = new Intl.NumberFormat(language, { maximumFractionDigits: 2 });
  const columns = rows[0].map((_, n) => rows.map((row) => (n === 0 && !is_line ? 0 : row[n] === "" ? null : Number(row[n]))));
  if (!is_line) columns[0] = rows.map((_, n) => n);
  const grid = { stroke: token("line"), width: 1 }, ink = token("muted");
  const names = ["going", "good", "held", "bad", "waiting", "off"];
  const series = heads.slice(1).map((label, n) => {
    const tone = tones[n] || names[n % names.length], stroke = token(tone);
    return {
      label, stroke, width: 2, dash: tone === "limit" ? [6, 4] : undefined, points: { show: is_line && rows.length < 3 }, spanGaps: true,
      fill: is_line ? undefined : stroke, paths: is_line ? (tone === "limit" ? uPlot.paths.stepped({ align: 1 }) : undefined) : uPlot.paths.bars({ size: [0.7 / Math.max(1, heads.length - 1) * 1.2, 60] }),
      value: (_, value) => (value === null ? "–" : `${exact.format(value)} ${unit}`.trim()),
    };
  });
  // Marks stand at whole hours of the viewer's zone: uPlot counts from the epoch.
  const shift = is_line ? offset_s(zone, columns[0][0]) : 0;
  // Where marks are days, no two of them are of one day.
  const is_of_days = (span) => span > 172_800, length = columns[0].at(-1) - columns[0][0];
  columns[0] = columns[0].map((at) => at + shift);
  const clock = (span) => new Intl.DateTimeFormat(language, is_of_days(span)
    ? { timeZone: zone, month: "short", day: "numeric" } : { timeZone: zone, hour: "2-digit", minute: "2-digit", second: span < 300 ? "2-digit" : undefined, hour12: false });
  const full = new Intl.DateTimeFormat(language, { timeZone: zone, dateStyle: "medium", timeStyle: "medium" });
  figure.drawn = new uPlot({
    width: plot.clientWidth || figure.clientWidth, height: 220, cursor: { drag: { x: false, y: false } },
    scales: { x: { time: false, range: is_line ? undefined : (_, low, high) => [low - 0.6, high + 0.6] }, y: { range: (_, __, high) => [0, Math.max(high, 1) * 1.08] } },
    axes: [
      { stroke: ink, grid: { show: false }, ticks: grid, space: is_line ? 70 : 40, incrs: !is_line ? [1] : is_of_days(length) ? STEPS.filter((step) => step >= 86_400) : STEPS,
        values: (self, marks) => (is_line ? marks.map((mark) => clock(self.scales.x.max - self.scales.x.min).format((mark - shift) * 1000)) : marks.map((mark) => rows[mark]?.[0] ?? "")) },
      { stroke: ink, grid, ticks: grid, size: 60, label: unit || undefined, labelSize: 18, values: (_, marks) => marks.map((mark) => figures.format(mark)) },
    ],
    series: [{ label: heads[0], value: (_, value) => (value === null ? "–" : is_line ? full.format((value - shift) * 1000) : rows[value]?.[0] ?? "") }, ...series],
  }, columns, plot);
}

/* -- keys ------------------------------------------------------------------------------------------------------- */

const help = $("#keys");
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (event.target.closest("input, select, textarea, [contenteditable]") || $("dialog[open]")) return;
  const go = (path) => { if (path) location.assign(path); return true; };
  const acts = {
    "/": () => { $("#search")?.focus(); return true; },
    "?": () => { help?.showModal(); return true; },
    g: () => go("/"), c: () => go("/campaigns"), m: () => go("/unknown"),
    r: () => { live.refresh(); return true; },
    t: () => { $("[name=theme]")?.click(); return true; },
  };
  if (help && acts[event.key]?.()) event.preventDefault();
});

/* -- small things ----------------------------------------------------------------------------------------------- */

// The menu closes on Escape, on a click elsewhere, and when the focus leaves it. Without scripts its button closes it.
const more = $("#menu-more");
if (more) {
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !more.open) return;
    const holds_focus = more.contains(document.activeElement) || document.activeElement === document.body;
    more.open = false;
    if (holds_focus) $("summary", more).focus();
  });
  document.addEventListener("pointerdown", (event) => { if (!more.contains(event.target)) more.open = false; });
  more.addEventListener("focusout", (event) => { if (event.relatedTarget && !more.contains(event.relatedTarget)) more.open = false; });
}
// Browsers without `command` on buttons.
if (!("commandForElement" in HTMLButtonElement.prototype)) {
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[commandfor]");
    const dialog = button && document.getElementById(button.getAttribute("commandfor"));
    if (dialog) { if (button.getAttribute("command") === "close") dialog.close(); else dialog.showModal(); }
  });
}
// Sent once: the second click of a double click sends nothing.
document.addEventListener("submit", (event) => {
  if (event.defaultPrevented || event.target.method !== "post") return;
  if (event.target.sent) { event.preventDefault(); return; }
  event.target.sent = true;
  addEventListener("pageshow", () => { event.target.sent = false; }, { once: true });
});
// The token of a link stands behind the #, which no server is sent.
for (const form of $$("form[data-token]")) {
  const given = location.hash.slice(1);
  if (!given.startsWith(form.dataset.token)) continue;
  history.replaceState(null, "", location.pathname + location.search);
  $("input[name=token]", form).value = given;
  form.closest("details").open = true;
  if (form.dataset.token !== "bsl_") $("input[type=password]", form).focus();
  else if ("asks" in form.dataset) $("button", form).focus();
  else form.requestSubmit();
}
const own_zone = $("[data-own-zone]");
if (own_zone) {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone, button = document.createElement("button");
  Object.assign(button, { type: "button", className: "link", textContent: own_zone.dataset.ownZone.replace("{zone}", zone) });
  button.addEventListener("click", () => { own_zone.value = zone; });
  own_zone.after(button);
}
$("[data-focus]")?.focus();
charts(document);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts(document));
let resized = 0;
addEventListener("resize", () => { clearTimeout(resized); resized = setTimeout(() => charts(document), 150); });
