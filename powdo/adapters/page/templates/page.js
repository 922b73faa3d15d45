"use strict";
(() => {
  const shots = Array.from(document.querySelectorAll("button.shot, a.shot"));
  const viewer = document.getElementById("viewer");
  const image = document.getElementById("viewer-image");
  const caption = document.getElementById("viewer-caption");
  const previous = document.getElementById("viewer-previous");
  const next = document.getElementById("viewer-next");
  const places = new Map(shots.map((shot, place) => [shot, place]));
  let current = -1;

  // One stop of the Tab key a list; arrows move within and between them.
  for (const list of document.querySelectorAll(".shots")) {
    list.querySelectorAll("button.shot, a.shot").forEach((shot, place) => {
      shot.tabIndex = place === 0 ? 0 : -1;
    });
  }

  function visit(place) {
    const shot = shots[place];
    if (!shot) return;
    for (const other of shot.closest(".shots").querySelectorAll(".shot")) other.tabIndex = -1;
    shot.tabIndex = 0;
    shot.focus();
  }

  function show(place) {
    const shot = shots[place];
    if (!shot) return;
    current = place;
    const small = shot.querySelector("img");
    image.src = small.src;
    image.alt = small.alt;
    image.width = small.naturalWidth || small.width;
    caption.textContent = `${small.alt} (${place + 1} of ${shots.length})`;
    previous.disabled = place === 0;
    next.disabled = place === shots.length - 1;
    if (shot.href) {
      const whole = new Image();
      whole.addEventListener("load", () => {
        if (current === place) image.src = whole.src;
      });
      whole.src = shot.href;
    }
    if (!viewer.open) viewer.showModal();
  }

  function step(by) {
    const place = current + by;
    if (place >= 0 && place < shots.length) show(place);
  }

  document.addEventListener("click", (event) => {
    const shot = event.target.closest("button.shot, a.shot");
    if (shot && !(event.ctrlKey || event.metaKey || event.shiftKey)) {
      event.preventDefault();
      show(places.get(shot));
    } else if (event.target === viewer) {
      viewer.close();
    }
  });
  previous.addEventListener("click", () => step(-1));
  next.addEventListener("click", () => step(1));
  document.getElementById("viewer-close").addEventListener("click", () => viewer.close());
  viewer.addEventListener("close", () => visit(current));

  const moves = { ArrowLeft: -1, ArrowRight: 1 };
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const focused = places.get(document.activeElement);
    if (!viewer.open && focused === undefined) return;
    let place;
    if (event.key in moves) place = (viewer.open ? current : focused) + moves[event.key];
    else if (event.key === "Home") place = 0;
    else if (event.key === "End") place = shots.length - 1;
    else return;
    event.preventDefault();
    if (place < 0 || place >= shots.length) return;
    if (viewer.open) show(place);
    else visit(place);
  });

  // Timesheets are printed though they are folded on the screen.
  const folded = [];
  window.addEventListener("beforeprint", () => {
    for (const part of document.querySelectorAll("details.printed:not([open])")) {
      folded.push(part);
      part.open = true;
    }
  });
  window.addEventListener("afterprint", () => {
    for (const part of folded.splice(0)) part.open = false;
  });
})();
