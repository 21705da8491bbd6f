/** Arguments by which a process of the program knows what it is. */

/** The first: a device model's; in a bundle everything is in one. */
export const MODEL_PROCESS = "model-process";

/** The last: it takes over from another. */
export const IN_TURN = "in-turn";
