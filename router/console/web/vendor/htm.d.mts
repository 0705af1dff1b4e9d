// What the console uses of htm: templates with a function that makes elements.
declare const htm: { bind(make: Function): (parts: TemplateStringsArray, ...values: any[]) => any };
export default htm;
