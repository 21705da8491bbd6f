/** Pages that come and go under several vCPUs, for long: whether anything is lost, and the longest that a revocation takes. */

import { benchmark, round } from "./harness.ts";
import { runStorm, type Storm } from "./storm_run.ts";

const VCPUS = [2, 4, 8], OPERATIONS = 1_000_000;
/** Visits of all vCPUs of one run. */
const VISITS = 32_000;

export const storm = benchmark({
  figures: {
    storm_ops: { what: "random visits, maps, moves and revocations under 2, 4 and 8 vCPUs" },
    storm_errors: { what: "values lost, stale or torn, operations that failed, counts that do not balance", target: 0 },
    storm_exits: { what: "accesses to pages that left the guest, though violations come by fault", target: 0 },
    storm_violations: { what: "violations among them" },
    revoke_worst_us: { what: "the longest revocation of one page among them, us" },
    revoke_load_us: { what: "their mean, us" },
    revoke_worst_of: { what: "their number" },
  },
  async measure({ quick }) {
    const storms: Storm[] = [];
    const sum = (of: (storm: Storm) => number) => storms.reduce((sum, storm) => sum + of(storm), 0);
    const wanted = quick ? OPERATIONS / 100 : OPERATIONS;
    for (let seed = 1; sum(({ operations }) => operations) < wanted; seed++) {
      const vcpus = VCPUS[seed % VCPUS.length], rounds = Math.ceil((quick ? VISITS / 20 : VISITS) / vcpus);
      const run = await runStorm({ vcpus, rounds, seed });
      for (const error of run.errors) console.error(`bench: storm, ${vcpus} vCPUs, seed ${seed}: ${error}`);
      storms.push(run);
      if (run.operations === 0) break; // nothing works at all
    }
    const revokes = sum(({ revokes }) => revokes);
    return {
      storm_ops: sum(({ operations }) => operations),
      storm_errors: sum(({ errors }) => errors.length),
      storm_exits: sum(({ exits }) => exits),
      storm_violations: sum(({ violations }) => violations),
      revoke_worst_us: round(Math.max(...storms.map(({ worstRevokeUs }) => worstRevokeUs)), 1),
      revoke_load_us: round(sum(({ revokes, meanRevokeUs }) => revokes * meanRevokeUs) / revokes, 2),
      revoke_worst_of: revokes,
    };
  },
});
