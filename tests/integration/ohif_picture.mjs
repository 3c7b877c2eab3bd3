// Pictures of studies in OHIF with a Segmentation loaded, one after the other: a software renderer takes every core.
// usage: node ohif_picture.mjs OHIF_URL (SERIES_DESCRIPTION STUDY_INSTANCE_UID INSTANCE_NUMBER OUT.png)...
// A picture is taken as soon as the viewport shows colour or outlines, or the page has fallen over, or the time is up; of the
// instance with that number where one is given, which is scrolled to, else (0) of what is shown first.
import { chromium } from 'playwright-core';

const LIMIT_MS = 120000; // for a busy machine; a free one takes some 10 s a study
const COLOURED_PIXELS = 500; // an overlay has thousands, the viewport's own canvas none
const [url, ...pictures] = process.argv.slice(2);

// In the page: whether a canvas of the viewport holds colour, outlines are drawn over it, or no viewport is left.
const settled = ([least, isReport]) => {
  if (isReport && document.querySelector('svg.svg-layer polyline, svg.svg-layer path')) return true;
  const canvases = [...document.querySelectorAll('canvas.cornerstone-canvas')];
  return !canvases.length || canvases.some((canvas) => {
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    let coloured = 0;
    for (let i = 0; i < data.length; i += 4) {
      const [low, high] = [Math.min(data[i], data[i + 1], data[i + 2]), Math.max(data[i], data[i + 1], data[i + 2])];
      coloured += high - low > 40;
    }
    return coloured > least;
  });
};

const photograph = async (context, series, study, number, out) => {
  const page = await context.newPage();
  page.on('pageerror', (error) => console.log(`${study}: ${error.message.slice(0, 300)}`));
  // Dialogues of a first visit, whenever they come up, stand in the way of every click.
  for (const text of ['Confirm and hide', 'Skip all']) {
    const button = page.getByText(text, { exact: true });
    await page.addLocatorHandler(button, () => button.first().click());
  }
  await page.goto(`${url}/viewer?StudyInstanceUIDs=${study}`, { timeout: LIMIT_MS });
  await page.locator('canvas.cornerstone-canvas').first().waitFor({ timeout: LIMIT_MS });
  await page.getByText(series, { exact: true }).first().dblclick({ timeout: LIMIT_MS });
  // "Do you want to open this Segmentation?" may come late and more than once: done is when it has stayed away for
  // three looks and the viewport is coloured, or gone. Without either, the picture shows what there is instead.
  const open = page.getByText('Yes', { exact: true });
  const end = Date.now() + LIMIT_MS;
  for (let calm = 0; calm < 3 && Date.now() < end;) {
    await page.waitForTimeout(2000);
    if (await open.count()) {
      await open.first().click({ timeout: 5000 }).catch(() => {});
      calm = 0;
    } else {
      calm = await page.evaluate(settled, [COLOURED_PIXELS, series.startsWith('Spine measurements')]) ? calm + 1 : 0;
    }
  }
  const canvas = page.locator('canvas.cornerstone-canvas').first();
  for (let tries = 0; Number(number) && tries < 100; tries++) {
    if ((await page.innerText('body')).replace(/\s+/g, ' ').match(new RegExp(`I: ?${number} \\(`))) break;
    await canvas.hover();
    await page.mouse.wheel(0, 100);
    await page.waitForTimeout(500);
  }
  await page.waitForTimeout(Number(number) ? 2000 : 0); // the overlay follows the image
  await page.screenshot({ path: out });
  await page.close();
};

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
  args: [
    '--no-sandbox', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync',
    '--disable-quic', '--use-gl=angle', '--use-angle=swiftshader', '--enable-unsafe-swiftshader', '--ignore-gpu-blocklist',
  ],
});
const context = await browser.newContext({ viewport: { width: 1200, height: 800 } }); // one cache for all
for (let index = 0; index < pictures.length; index += 4) {
  const [series, study, number, out] = pictures.slice(index, index + 4);
  await photograph(context, series, study, number, out).catch((error) => console.log(`${study}: ${error.message}`));
}
await browser.close();
