// What the console uses of preact: written here, for the vendored file has no types.
export function h(type: any, props: object | null, ...children: any[]): any;
export function render(drawn: any, place: Element): void;
