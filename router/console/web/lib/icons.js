// @ts-check
/** The icons, of a 20 by 20 ground; the strokes are CSS's. */
import { html } from "./render.js";

const SHAPES = {
  "inbox": html`<path d="M3 11.5 5 4h10l2 7.5V16H3zM3 11.5h4l1 2h4l1-2h4"/>`,
  "chart": html`<path d="M3.5 16.5h13M5.5 13.500V10M10 13.500V4M14.5 13.500V7.5"/>`,
  "set": html`<path d="M3 6h8M15 6h2M3 14h2M9 14h8"/><circle cx="13" cy="6" r="2"/><circle cx="7" cy="14" r="2"/>`,
  "try": html`<rect x="3" y="3" width="6" height="11" rx="1.5"/><rect x="11" y="6" width="6" height="11" rx="1.5"/>`,
  "phone": html`<rect x="5.5" y="2.5" width="9" height="15" rx="2"/><path d="M9 15h2"/>`,
  "ai": html`<path d="M10 3c.6 4.2 2.8 6.4 7 7-4.2.6-6.4 2.8-7 7-.6-4.2-2.8-6.4-7-7 4.2-.6 6.4-2.8 7-7z"/>`,
  "user": html`<circle cx="10" cy="7" r="3"/><path d="M4 17c.6-3.2 2.8-5 6-5s5.4 1.8 6 5"/>`,
  "desk": html`<rect x="3" y="4" width="14" height="9" rx="1.5"/><path d="M7 16.500h6M10 13v3.5"/>`,
  "check": html`<path d="m4 10.5 4 4 8-9"/>`,
  "checks": html`<path d="m1.5 10.5 3.5 4 7-9M9 13.500l1 1 7.5-9"/>`,
  "clock": html`<circle cx="10" cy="10" r="7"/><path d="M10 6v4l2.5 2"/>`,
  "pause": html`<path d="M7 5v10M13 5v10"/>`,
  "send": html`<path d="M3.5 10h6M3.5 3.5 17 10 3.5 16.5 5 10z"/>`,
  "x": html`<path d="m5 5 10 10M15 5 5 15"/>`,
  "alert": html`<path d="M10 3.5 18 16.500H2zM10 8.500v3.500M10 14.200v.1"/>`,
  "hand": html`<path d="M6 10V5.500a1.2 1.2 0 0 1 2.4 0V9 4a1.2 1.2 0 0 1 2.4 0v5-4a1.2 1.2 0 0 1 2.4 0v5l1-1.500c.8-1 2.3-.2 1.8 1L14 14.500c-.9 2-2.2 3-4.2 3-2.6 0-3.8-1.6-3.8-4z"/>`,
  "fence": html`<path d="M5 17V5l2-2 2 2v12M11 17V5l2-2 2 2v12M2.5 8h15M2.5 13h15"/>`,
  "in": html`<path d="M10 3v9m-4-3.5 4 4 4-4M4 16.500h12"/>`,
  "scale": html`<path d="M10 3v14M6 17h8M4 6h12M4 6l-2 5h4zM16 6l-2 5h4z"/>`,
  "lock": html`<rect x="4.5" y="9" width="11" height="7.5" rx="1.5"/><path d="M7 9V6.500a3 3 0 0 1 6 0V9"/>`,
};

/**
 * @param {{ name: keyof typeof SHAPES, size?: "xs" | "l" | "" }} props
 */
export function Icon({ name, size = "" }) {
  return html`<svg class=${`i ${size}`} viewBox="0 0 20 20" aria-hidden="true">${SHAPES[name]}</svg>`;
}
