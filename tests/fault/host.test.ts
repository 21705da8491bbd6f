/** Hosts that cannot run guests: one line that says what to do, status 69. */

import { assertEquals } from "@std/assert";
import { ANY_KVM, testWith } from "../support/capabilities.ts";
import { assertOneLine, finish, ROOT } from "../support/command.ts";
import { asNobody, MOUNTS, PRLIMIT, SETPRIV, withMounts } from "../support/host.ts";

/** A /dev with what every program needs, and no more. */
const NO_KVM = 'd=$(mktemp -d); mount -t tmpfs none "$d"; ' +
  'for n in null zero full random urandom tty; do : >"$d/$n"; mount --bind "/dev/$n" "$d/$n"; done; ' +
  'ln -s /proc/self/fd "$d/fd"; mount --rbind "$d" /dev';

const HOSTS: Record<string, readonly [script: string, line: RegExp]> = {
  "without /dev/kvm": [NO_KVM, /^xenolith: no \/dev\/kvm: .*load kvm_intel or kvm_amd/],
  "where /dev/kvm is a directory": [`${NO_KVM}; mkdir /dev/kvm`, /^xenolith: \/dev\/kvm cannot be opened: .*EISDIR$/],
  "where /dev/kvm is some file": ["mount --bind deno.json /dev/kvm", /^xenolith: .*\/dev\/kvm/],
  "where /dev/kvm is /dev/null": ["mount --bind /dev/null /dev/kvm", /^xenolith: .*\/dev\/kvm/],
};

for (const [what, [script, line]] of Object.entries(HOSTS)) {
  testWith([ANY_KVM, MOUNTS], `on a host ${what} run and doctor say so, with status 69`, async () => {
    for (const [command, args] of [["run", ["guests/hello.img"]], ["doctor", []]] as const) {
      const finished = await finish(command, args, { prefix: withMounts(script) });
      assertOneLine(finished, 69, line);
      assertEquals(finished.stdout, "");
    }
  });

  testWith([ANY_KVM, MOUNTS], `on a host ${what} a bad image is still a bad image`, async () => {
    assertOneLine(await finish("run", ["missing.img"], { prefix: withMounts(script) }), 64, /no such file$/);
    assertEquals((await finish("doctor", ["guests/hello.img"], { prefix: withMounts(script) })).status, 0);
  });
}

testWith(
  [ANY_KVM, SETPRIV, MOUNTS],
  "a user without permission on /dev/kvm is told about its group, with 69",
  async () => {
    await using nobody = await asNobody();
    const node = 'f=$(mktemp -u); mknod -m 600 "$f" c 10 232; mount --bind "$f" /dev/kvm; rm "$f"';
    const prefix = [...withMounts(node), ...nobody.options.prefix!];
    for (const [command, args] of [["run", ["guests/hello.img"]], ["doctor", []]] as const) {
      const finished = await finish(command, args, { ...nobody.options, prefix });
      assertOneLine(finished, 69, /^xenolith: no permission on \/dev\/kvm: add the user to its group/);
    }
  },
);

testWith([], "on another architecture or system every command is refused with 69", async () => {
  for (const [os, arch] of [["linux", "aarch64"], ["darwin", "x86_64"], ["windows", "x86_64"]]) {
    const program = `Object.defineProperty(Deno, "build", { value: ${JSON.stringify({ os, arch })} });
      const { main } = await import("./src/cli/main.ts");
      await main(["run", "guests/hello.img"]);`;
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["eval", program],
      cwd: ROOT,
    }).output();
    assertEquals({ code, stdout: stdout.length, stderr: new TextDecoder().decode(stderr) }, {
      code: 69,
      stdout: 0,
      stderr: `xenolith: needs x86-64 Linux; this is ${arch} ${os}\n`,
    });
  }
});

testWith([ANY_KVM, PRLIMIT], "memory that the host does not map is one line and 69", async () => {
  const finished = await finish("run", ["--memory", "400G", "guests/hello.img"], {
    prefix: limited("--as=200000000000"),
  });
  assertOneLine(finished, 69, /^xenolith: mmap: memory file xenolith-ram \(\d+ bytes\).*: ENOMEM$/);
});

/** Words that run a command, as `exec` does, under a limit. */
function limited(limit: string): string[] {
  return ["prlimit", limit];
}
