/** The energy report's charts and buttons. The figures are in the page (report/html.ts), which also has them as tables. */
import { BarController, BarElement, CategoryScale, Chart, Legend, LinearScale, Tooltip } from 'chart.js';

Chart.register(BarController, BarElement, CategoryScale, Legend, LinearScale, Tooltip);
Chart.defaults.animation = false;
Chart.defaults.locale = document.documentElement.lang;

const editor = acquireVsCodeApi();
let charts = [];

function draw() {
  charts.forEach((chart) => chart.destroy());
  const style = window.getComputedStyle(document.documentElement);
  const color = (name) => style.getPropertyValue(name).trim();
  Chart.defaults.color = color('--vscode-foreground');
  Chart.defaults.borderColor = color('--vscode-editorWidget-border') || color('--vscode-contrastBorder');
  Chart.defaults.font.family = color('--vscode-font-family');
  charts = [...document.querySelectorAll('canvas[data-chart]')].map((canvas) => {
    const { labels, unit, stacked, series } = JSON.parse(canvas.dataset.chart);
    const title = { display: true, text: unit };
    return new Chart(canvas, {
      type: 'bar',
      data: {
        labels,
        datasets: series.map(({ name, color: variable, values }) => ({
          label: name,
          data: values,
          backgroundColor: color(variable),
          borderColor: color('--vscode-contrastBorder') || undefined,
          borderWidth: color('--vscode-contrastBorder') ? 1 : 0,
          maxBarThickness: 40,
        })),
      },
      options: { maintainAspectRatio: false, scales: { x: { stacked }, y: { stacked, beginAtZero: true, title } } },
    });
  });
}

document.querySelectorAll('button[data-command]').forEach((button) => {
  button.addEventListener('click', () => editor.postMessage({ command: button.dataset.command }));
});
// New figures come in a new page, which shares the editor's state with this one: the focus stays on the button.
const refresh = document.getElementById('refresh');
refresh.addEventListener('click', () => editor.setState({ refreshed: true }));
if (editor.getState()?.refreshed) {
  editor.setState({});
  refresh.focus();
}
draw();
// The editor changes the body's class when the theme changes.
new MutationObserver(draw).observe(document.body, { attributes: true, attributeFilter: ['class'] });
