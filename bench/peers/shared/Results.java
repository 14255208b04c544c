import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.atomic.AtomicBoolean;

/** What a run has given and what it has taken, as the Go side has it in bench/sums; printed as JSON when all is there. */
public final class Results {
  private static final long WANT = Long.getLong("events");
  private static final AtomicBoolean BEGUN = new AtomicBoolean();
  private static volatile long begunAt;
  private static volatile double cpuBefore;
  private static long results;
  private static long events;
  private static long checksum;

  /** Called for each record. */
  public static void begin() {
    if (!BEGUN.get() && BEGUN.compareAndSet(false, true)) {
      cpuBefore = cpuSeconds();
      begunAt = System.nanoTime();
    }
  }

  /** Takes the final sums of a key in a window; after the last one the process ends. */
  public static synchronized void add(long start, String key, long size, long count) {
    if (key.equals("-")) {
      return;
    }
    results++;
    events += count;
    checksum += fnv1a(start + " " + key + " " + size + " " + count);
    if (events < WANT) {
      return;
    }
    double seconds = (System.nanoTime() - begunAt) / 1e9;
    System.out.printf("{\"results\":%d,\"events\":%d,\"checksum\":\"%s\",\"seconds\":%.3f,\"cpu\":%.2f,\"peak_kb\":%d}%n",
        results, events, Long.toUnsignedString(checksum), seconds, cpuSeconds() - cpuBefore, peakKilobytes());
    System.out.flush();
    Runtime.getRuntime().halt(0);
  }

  private static long fnv1a(String line) {
    long hash = 0xcbf29ce484222325L;
    for (byte b : line.getBytes(StandardCharsets.US_ASCII)) {
      hash = (hash ^ (b & 0xff)) * 0x100000001b3L;
    }
    return hash;
  }

  private static double cpuSeconds() {
    return ((com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean()).getProcessCpuTime() / 1e9;
  }

  private static long peakKilobytes() {
    try {
      for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
        if (line.startsWith("VmHWM")) {
          return Long.parseLong(line.replaceAll("[^0-9]", ""));
        }
      }
    } catch (IOException e) {
      throw new IllegalStateException(e);
    }
    throw new IllegalStateException("/proc/self/status has no VmHWM");
  }
}
