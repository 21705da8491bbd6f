/** Where the parts of the shared memory of a second stage are (see StageTable). */

import { MAX_VCPU_IDS } from "../kvm/abi.ts";
import { PAGE_SIZE, roundUp } from "./address.ts";
import { REGION_TABLE_BYTES } from "./region_table.ts";

/** RAM pieces and windows of a domain. */
export const MAX_AREAS = 128;
/** Runs of pages with a slot of their own: the exit transport's. KVM has 32764 slots or less. */
export const MAX_RUNS = 8192;
/**
 * KVM's slots: below the first of these RAM's and the windows' of the fault transport (see SecondStage); then those of
 * runs (ExitRuns), and of extended regions (RegionFrames).
 */
export const FIRST_RUN_SLOT = 256, FIRST_REGION_SLOT = FIRST_RUN_SLOT + MAX_RUNS;
/** Pages that vCPUs wait for at one time. */
export const MAX_FAULTS = 4096;
/** The domain's special frames (see special_frames.ts), and a few more. */
export const MAX_SPECIALS = 128;

const HEADER_BYTES = 1024, MEMORIES = 256;
const AREA_BYTES = 256, RUN_BYTES = 48, FAULT_BYTES = 64;
const AREAS = HEADER_BYTES, RUNS = AREAS + MAX_AREAS * AREA_BYTES, FAULTS = RUNS + MAX_RUNS * RUN_BYTES;
const FAULT_OF = FAULTS + MAX_FAULTS * FAULT_BYTES, SPECIALS = FAULT_OF + MAX_VCPU_IDS * 4;
const REGIONS = SPECIALS + MAX_SPECIALS * 4;

/** In bytes. */
export const STAGE_LAYOUT = {
  headerBytes: HEADER_BYTES,
  memories: MEMORIES,
  areas: AREAS,
  areaBytes: AREA_BYTES,
  runs: RUNS,
  runBytes: RUN_BYTES,
  faults: FAULTS,
  faultBytes: FAULT_BYTES,
  faultOf: FAULT_OF,
  faultOfBytes: MAX_VCPU_IDS * 4,
  specials: SPECIALS,
  specialsBytes: MAX_SPECIALS * 4,
  regions: REGIONS,
} as const;

/** What is never touched of it costs nothing. */
export const STAGE_BYTES = roundUp(REGIONS + REGION_TABLE_BYTES, PAGE_SIZE);
