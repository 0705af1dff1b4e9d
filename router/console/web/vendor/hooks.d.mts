// What the console uses of preact's hooks.
export function useState<T>(first: T | (() => T)): [T, (next: T | ((now: T) => T)) => void];
export function useEffect(effect: () => void | (() => void), seen?: readonly unknown[]): void;
export function useLayoutEffect(effect: () => void | (() => void), seen?: readonly unknown[]): void;
export function useRef<T>(first: T): { current: T };
