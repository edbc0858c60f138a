// Pages also work without JavaScript: times are then in UTC, and numbers are those of the last load.
"use strict";
(() => {
  // Shows times in the time zone of the browser. The exact time in UTC stays in the tooltip.
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

  // After htmx has reloaded a part of the page: shows its times, and hides the notice about stale data.
  document.body.addEventListener("htmx:afterSwap", (event) => {
    localise(event.detail.elt.parentElement || document);
    isStale(false);
  });
  // A hidden tab does not poll.
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
  // Counts down the seconds of countdowns.
  setInterval(() => {
    for (const element of document.querySelectorAll("[data-countdown]")) {
      const left = Math.max(0, Number(element.dataset.countdown) - 1);
      element.dataset.countdown = String(left);
      element.textContent = String(left);
    }
  }, 1000);
  // Highlights the related rows in the columns of an event.
  const relate = (event, isOn) => {
    const row = event.target.closest && event.target.closest("[data-related]");
    if (!row) return;
    for (const id of [row.id, ...row.dataset.related.split(" ")]) {
      const other = id && document.getElementById(id);
      if (other) other.classList.toggle("is-related", isOn);
    }
  };
  for (const name of ["mouseover", "focusin"]) document.addEventListener(name, (event) => relate(event, true));
  for (const name of ["mouseout", "focusout"]) document.addEventListener(name, (event) => relate(event, false));

  // The live tail. The stream is closed when the button is clicked, when the page is left, and while the tab is hidden.
  const tail = document.querySelector("[data-tail]");
  if (tail && window.EventSource) {
    const rows = tail.querySelector("tbody");
    const said = tail.querySelector("[data-tail-said]");
    const missed = tail.querySelector("[data-tail-left-out]");
    const button = tail.querySelector("[data-tail-stop]");
    let stream = null;
    let isStopped = false;
    let leftOut = 0;
    const close = () => { if (stream) stream.close(); stream = null; };
    const open = () => {
      if (stream || isStopped || document.hidden) return;
      stream = new EventSource(tail.dataset.tail);
      stream.onmessage = (event) => {
        const message = JSON.parse(event.data);
        if (message.said) said.textContent = message.said;
        if (message.rows) {
          // The server has escaped every value.
          const holder = document.createElement("template");
          holder.innerHTML = message.rows;
          rows.prepend(holder.content);
          while (rows.rows.length > Number(tail.dataset.most)) rows.rows[rows.rows.length - 1].remove();
          localise(rows);
          const empty = tail.querySelector("[data-tail-empty]");
          if (empty) empty.remove();
        }
        if (message.leftOut) {
          leftOut += message.leftOut;
          missed.textContent = `${leftOut.toLocaleString()} other events ended that are not shown.`;
        }
      };
      stream.onerror = () => {
        if (stream && stream.readyState === EventSource.CLOSED) {
          said.textContent = "The console refused the stream. Load the page again.";
          close();
        }
      };
    };
    button.hidden = false;
    button.addEventListener("click", () => {
      isStopped = !isStopped;
      button.textContent = isStopped ? "Go on" : "Stop";
      said.textContent = isStopped ? "Stopped." : "Live.";
      if (isStopped) close(); else open();
    });
    document.addEventListener("visibilitychange", () => { if (document.hidden) close(); else open(); });
    window.addEventListener("pagehide", close);
    open();
  }

  // Shows the buttons that print the page, which work only with JavaScript.
  for (const button of document.querySelectorAll("[data-print]")) {
    button.hidden = false;
    button.addEventListener("click", () => window.print());
  }
})();
