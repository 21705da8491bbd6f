/** Debian's stock kernel with a virtio network device: it pings a guest of ours, and that guest pings it. */

import { assertEquals, assertMatch } from "@std/assert";
import { bundle } from "../../../src/cli/lane_program.ts";
import { Cache } from "../../../src/lane/cache.ts";
import { denoPackages } from "../../../src/lane/deno_cache.ts";
import { kernel } from "../../../src/lane/kernel.ts";
import { shellDisk } from "./shell_disk.ts";
import { inLane, laneTest } from "./support.ts";

/** In the order in which they are loaded; a kernel may have some of them built in. */
const DRIVERS = ["virtio_ring", "virtio", "virtio_mmio", "failover", "net_failover", "virtio_net"];

/** Pings of the smallest frame to the largest; then the other is told that it is over, and what Linux counted is said. */
const INIT = `#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
for driver in ${DRIVERS.join(" ")}; do [ -f /$driver.ko ] && /bin/busybox insmod /$driver.ko; done
/bin/busybox ifconfig eth0 10.9.0.1 up
for size in 0 56 1000 1472; do /bin/busybox ping -q -c 3 -i 0.01 -s $size 10.9.0.2; done
echo "mac $(/bin/busybox cat /sys/class/net/eth0/address) mtu $(/bin/busybox cat /sys/class/net/eth0/mtu)"
cd /sys/class/net/eth0/statistics
echo "errors $(/bin/busybox cat rx_errors tx_errors rx_dropped rx_length_errors | /bin/busybox tr '\\n' ' ')"
/bin/busybox grep virtio /proc/interrupts
/bin/busybox timeout 1 /bin/busybox tftp -g -r over 10.9.0.2 9
/bin/busybox poweroff -f
`;

const XENOLITH =
  "deno run --quiet --allow-all --cached-only --no-config /lane/xenolith.js run --virtio-in worker --net socket,path=/wire";
const RUN = `${XENOLITH} --cmdline "role=answer ip=10.9.0.2" /virtio-net.img >/out/answered &
${XENOLITH},mac=52:54:00:12:34:56 --memory 192M --initrd /initrd --cmdline "console=ttyS0 quiet" /vmlinuz; wait`;

laneTest("Debian's kernel pings a guest by virtio-net, with frames of all sizes, and none is lost", async () => {
  const { bzImage, directory } = await kernel(new Cache());
  const drivers = DRIVERS.flatMap((name) => {
    const path = `${directory}/modules/${name}.ko`;
    return exists(path) ? [[`/${name}.ko`, Deno.readFileSync(path)]] : [];
  });
  const initrd = shellDisk([], { "/init": INIT, ...Object.fromEntries(drivers) });
  const { stdout, stderr, files } = await inLane(RUN, { memoryMiB: 1024 }, {
    async files(archive) {
      archive.file("/initrd", initrd);
      archive.file("/vmlinuz", Deno.readFileSync(bzImage));
      archive.file("/virtio-net.img", Deno.readFileSync("guests/virtio-net.img"));
      await denoPackages(archive, ["iced-x86"]);
      archive.file("/lane/xenolith.js", await bundle());
    },
  });
  const said = new TextDecoder().decode(stdout).replaceAll("\r", "");
  assertEquals(
    [...said.matchAll(/3 packets transmitted, 3 packets received, 0% packet loss/g)].length,
    4,
    said + stderr,
  );
  assertMatch(said, /^mac 52:54:00:12:34:56 mtu 1500$/m);
  assertMatch(said, /^errors 0 0 0 0 $/m);
  assertMatch(said, /IO-APIC +5-edge +virtio0/);
  assertEquals(new TextDecoder().decode(files.get("answered")), "virtio-net: answered 12\n");
});

function exists(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}
