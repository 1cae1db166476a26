/**
 * Line charts as SVG text: a title, two axes (linear or logarithmic), lines with or without marks and error bars, a legend. The same input gives
 * the same bytes. Plain Node without dependencies; colours are readable on white and for the colour-blind (Okabe and Ito).
 */
const COLOURS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#56b4e9', '#e69f00', '#000000'];
const WIDTH = 760;
const PLOT = { left: 84, right: 740, top: 44, bottom: 330 };
const LEGEND_ROW = 18;

const escapeText = (text) => text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;');
const at = (value) => value.toFixed(1);

function scaleOf(axis, low, high) {
  const map = axis.log ? Math.log10 : (value) => value;
  const [from, to] = [map(axis.min), map(axis.max)];
  return (value) => low + ((map(value) - from) / (to - from)) * (high - low);
}

function ticksOf({ min, max, log, ticks }) {
  if (ticks !== undefined) return ticks;
  if (log) {
    const first = Math.ceil(Math.log10(min) - 1e-9);
    const last = Math.floor(Math.log10(max) + 1e-9);
    return Array.from({ length: last - first + 1 }, (_, index) => 10 ** (first + index));
  }
  return Array.from({ length: 6 }, (_, index) => min + ((max - min) * index) / 5);
}

function label(value) {
  if (value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e6)) {
    return value.toExponential(0).replace('e+', 'e');
  }
  return String(Number(value.toPrecision(3)));
}

function axes({ x, y }, toX, toY) {
  const parts = [];
  for (const tick of ticksOf(x)) {
    const px = at(toX(tick));
    parts.push(`<path d="M${px} ${PLOT.top}V${PLOT.bottom}" stroke="#e5e5e5"/>`);
    parts.push(`<text x="${px}" y="${PLOT.bottom + 18}" text-anchor="middle">${label(tick)}</text>`);
  }
  for (const tick of ticksOf(y)) {
    const py = toY(tick);
    parts.push(`<path d="M${PLOT.left} ${at(py)}H${PLOT.right}" stroke="#e5e5e5"/>`);
    parts.push(`<text x="${PLOT.left - 8}" y="${at(py + 4)}" text-anchor="end">${label(tick)}</text>`);
  }
  const middleX = at((PLOT.left + PLOT.right) / 2);
  const middleY = at((PLOT.top + PLOT.bottom) / 2);
  parts.push(
    `<text x="${middleX}" y="${PLOT.bottom + 38}" text-anchor="middle">${escapeText(x.title)}</text>`,
  );
  parts.push(
    `<text x="18" y="${middleY}" text-anchor="middle" transform="rotate(-90 18 ${middleY})">${escapeText(y.title)}</text>`,
  );
  return parts;
}

function lineOf({ points, step, dashed, marks, line = true }, colour, toX, toY) {
  const parts = [];
  const path = points
    .map(([px, py], index) => {
      const [sx, sy] = [at(toX(px)), at(toY(py))];
      if (index === 0) return `M${sx} ${sy}`;
      return step ? `H${sx}V${sy}` : `L${sx} ${sy}`;
    })
    .join('');
  if (line && points.length > 1) {
    const dashes = dashed ? ' stroke-dasharray="6 4"' : '';
    parts.push(`<path d="${path}" fill="none" stroke="${colour}" stroke-width="2"${dashes}/>`);
  }
  if (!marks) return parts;
  for (const [px, py, low, high] of points) {
    const sx = at(toX(px));
    parts.push(`<circle cx="${sx}" cy="${at(toY(py))}" r="3" fill="${colour}"/>`);
    if (low !== undefined) {
      parts.push(`<path d="M${sx} ${at(toY(low))}V${at(toY(high))}" stroke="${colour}" stroke-width="1"/>`);
    }
  }
  return parts;
}

/**
 * `chart`: { title, x, y, lines }. An axis: { title, min, max, log?, ticks? }. A line: { name, points: [x, y, low?, high?][], line?, marks?, dashed?,
 * step? }. Points outside the y axis are drawn at its edge.
 */
export function drawChart({ title, x, y, lines }) {
  const toX = scaleOf(x, PLOT.left, PLOT.right);
  const scaleY = scaleOf(y, PLOT.bottom, PLOT.top);
  const toY = (value) => scaleY(Math.min(y.max, Math.max(y.min, value)));
  const height = PLOT.bottom + 54 + Math.ceil(lines.length / 2) * LEGEND_ROW;
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" ` +
      'font-family="sans-serif" font-size="12" fill="#222">',
    `<title>${escape(title)}</title>`,
    `<rect width="${WIDTH}" height="${height}" fill="#fff"/>`,
    `<text x="${PLOT.left}" y="24" font-size="15" font-weight="bold">${escapeText(title)}</text>`,
    ...axes({ x, y }, toX, toY),
    `<path d="M${PLOT.left} ${PLOT.top}V${PLOT.bottom}H${PLOT.right}" fill="none" stroke="#222"/>`,
  ];
  for (const [index, line] of lines.entries()) {
    const colour = line.colour ?? COLOURS[index % COLOURS.length];
    parts.push(...lineOf(line, colour, toX, toY));
    const legendX = index % 2 === 0 ? PLOT.left : (PLOT.left + PLOT.right) / 2;
    const legendY = PLOT.bottom + 58 + Math.floor(index / 2) * LEGEND_ROW;
    const dashes = line.dashed ? ' stroke-dasharray="6 4"' : '';
    parts.push(
      `<path d="M${legendX} ${legendY - 4}h24" stroke="${colour}" stroke-width="${line.line === false ? 0 : 2}"${dashes}/>`,
    );
    if (line.marks) parts.push(`<circle cx="${legendX + 12}" cy="${legendY - 4}" r="3" fill="${colour}"/>`);
    parts.push(`<text x="${legendX + 32}" y="${legendY}">${escapeText(line.name)}</text>`);
  }
  parts.push('</svg>', '');
  return parts.join('\n');
}
