import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Suppressed;
import org.apache.kafka.streams.kstream.TimeWindowedKStream;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.state.WindowStore;

/** The job of bench/sums in Kafka Streams, with its defaults: RocksDB, a changelog topic, at least once. */
public final class Sums {
  public static final class Event {
    public long id;
    public long size;
  }

  private static final ObjectReader READER = new ObjectMapper().readerFor(Event.class);

  public static void main(String[] args) {
    Properties p = new Properties();
    p.put(StreamsConfig.APPLICATION_ID_CONFIG, System.getProperty("name"));
    p.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, System.getProperty("brokers"));
    p.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, Integer.getInteger("parallelism"));
    p.put(StreamsConfig.STATE_DIR_CONFIG, System.getProperty("state"));
    p.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, Long.getLong("commit"));
    p.put("auto.offset.reset", "earliest");

    Serde<Event> event = Serdes.serdeFrom((topic, e) -> { throw new UnsupportedOperationException(); }, (topic, b) -> {
      Results.begin();
      try {
        return READER.readValue(b);
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
    });
    Serde<long[]> sums = Serdes.serdeFrom(
        (topic, s) -> s == null ? null : ByteBuffer.allocate(16).putLong(s[0]).putLong(s[1]).array(),
        (topic, b) -> b == null ? null : new long[] {ByteBuffer.wrap(b).getLong(0), ByteBuffer.wrap(b).getLong(8)});

    StreamsBuilder builder = new StreamsBuilder();
    TimeWindowedKStream<String, Event> windows = builder
        .stream(System.getProperty("topic"), Consumed.with(Serdes.String(), event))
        .groupByKey(Grouped.with(Serdes.String(), event))
        .windowedBy(TimeWindows.ofSizeWithNoGrace(Duration.ofSeconds(10)));
    KTable<Windowed<String>, long[]> table = windows.aggregate(() -> new long[2],
        (key, e, s) -> new long[] {s[0] + e.size, s[1] + 1},
        Materialized.<String, long[], WindowStore<Bytes, byte[]>>as("sums").withKeySerde(Serdes.String()).withValueSerde(sums));
    table.suppress(Suppressed.untilWindowCloses(Suppressed.BufferConfig.unbounded()))
        .toStream().foreach((w, s) -> Results.add(w.window().start(), w.key(), s[0], s[1]));
    new KafkaStreams(builder.build(), p).start();
  }
}
