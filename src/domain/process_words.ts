/** Words between the program and the processes of its device models. */

/** The first argument: it is a device model's; in a bundle everything is in one. */
export const MODEL_PROCESS = "model-process";

/** The last argument: it takes over from another. */
export const IN_TURN = "in-turn";

/** What one that takes over says on stdout when its code is there. Whatever any says there last is why it ends. */
export const LOADED = "loaded\n";
