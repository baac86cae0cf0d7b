/** Token smoothing: text that arrives in bursts is shown at a steady pace, once a frame. */
export class Smoother {
  /** `show` is called with what is to be shown; everything at once for those who asked for reduced motion. */
  constructor(show: (text: string) => void);
  /** The whole text so far. */
  to(text: string): void;
  /** Show everything now: the text is complete. */
  flush(): void;
}

/** How many of the characters waiting to be shown are due, this long after the last look. */
export function charactersDue(waiting: number, elapsedMs: number): number;

/** The same place in the text, or the next one that does not cut a character in half. */
export function wholeCharacter(text: string, at: number): number;
