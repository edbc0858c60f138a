// What pages gain from JavaScript. Without it they work as well: times are in UTC, and numbers are those of the last load.
"use strict";
(() => {
  // Shows times in the zone of the visitor; the exact time in UTC stays as the title.
  const format = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
  const localise = (root) => {
    for (const element of root.querySelectorAll("time[datetime]:not([data-local])")) {
      const time = new Date(element.dateTime);
      if (!Number.isNaN(time.getTime())) {
        element.textContent = format.format(time);
        element.dataset.local = "";
      }
    }
  };
  localise(document);

  const stale = document.getElementById("stale");
  const isStale = (value) => { if (stale) stale.hidden = !value; };

  // A part of a page that was loaded again.
  document.body.addEventListener("htmx:afterSwap", (event) => {
    localise(event.detail.elt.parentElement || document);
    isStale(false);
  });
  // A tab that no one sees asks for nothing.
  document.body.addEventListener("htmx:beforeRequest", (event) => {
    const isPolling = !event.detail.requestConfig.triggeringEvent;
    if (isPolling && document.hidden) event.preventDefault();
  });
  document.body.addEventListener("htmx:sendError", () => isStale(true));
  document.body.addEventListener("htmx:timeout", () => isStale(true));
  document.body.addEventListener("htmx:responseError", () => isStale(true));
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) document.body.dispatchEvent(new CustomEvent("console:visible"));
  });
  // Seconds that pass.
  setInterval(() => {
    for (const element of document.querySelectorAll("[data-countdown]")) {
      const left = Math.max(0, Number(element.dataset.countdown) - 1);
      element.dataset.countdown = String(left);
      element.textContent = String(left);
    }
  }, 1000);
  // A button that prints the page.
  for (const button of document.querySelectorAll("[data-print]")) {
    button.hidden = false;
    button.addEventListener("click", () => window.print());
  }
})();
