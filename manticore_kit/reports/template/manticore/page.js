// Draws the figures in the page's colours, again whenever the reader's colour scheme changes, and unfolds the code.
(() => {
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // The figure's own choices stay; its template, the layer beneath them, takes the page's colours.
  function dressed(layout = {}) {
    const clear = "rgba(0,0,0,0)";
    const [text, muted, line] = ["--text", "--muted", "--line"].map(colour);
    const axis = { gridcolor: line, linecolor: line, zerolinecolor: line, tickcolor: muted };
    const wall = { ...axis, backgroundcolor: clear, showbackground: false };
    const over = (base = {}, more) => ({ ...base, ...more });

    const own = structuredClone(layout);
    const base = own.template?.layout ?? {};
    const scene = base.scene ?? {};
    const ternary = base.ternary ?? {};
    own.template = {
      ...own.template,
      layout: {
        ...base,
        paper_bgcolor: clear,
        plot_bgcolor: clear,
        margin: base.margin ?? { l: 64, r: 24, t: own.title?.text ? 72 : 24, b: 56 },
        font: over(base.font, { color: text, family: colour("--sans") }),
        xaxis: over(base.xaxis, axis),
        yaxis: over(base.yaxis, axis),
        scene: {
          ...scene,
          xaxis: over(scene.xaxis, wall),
          yaxis: over(scene.yaxis, wall),
          zaxis: over(scene.zaxis, wall),
        },
        ternary: {
          ...ternary,
          bgcolor: clear,
          aaxis: over(ternary.aaxis, axis),
          baxis: over(ternary.baxis, axis),
          caxis: over(ternary.caxis, axis),
        },
        modebar: { bgcolor: clear, color: muted, activecolor: text },
      },
    };
    for (const key of ["width", "paper_bgcolor", "plot_bgcolor"]) delete own[key];
    if (own.font) delete own.font.color;
    return own;
  }

  const figures = [...document.querySelectorAll(".plot")].map((div) => ({
    div,
    ...JSON.parse(div.nextElementSibling.textContent),
  }));
  const draw = () => {
    for (const { div, data, layout, frames } of figures) {
      Plotly.react(div, {
        data,
        layout: dressed(layout),
        frames,
        config: { responsive: true, displaylogo: false },
      });
    }
  };
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

  const button = document.getElementById("all-code");
  const folds = [...document.querySelectorAll("details.code")];
  button.hidden = folds.length === 0;
  button.addEventListener("click", () => {
    const show = button.getAttribute("aria-pressed") === "false";
    for (const fold of folds) fold.open = show;
    button.setAttribute("aria-pressed", String(show));
    button.textContent = show ? "Hide all code" : "Show all code";
  });
})();
