import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.AggregateFunction;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.sink.SinkFunction;
import org.apache.flink.streaming.api.functions.windowing.ProcessWindowFunction;
import org.apache.flink.streaming.api.windowing.assigners.TumblingEventTimeWindows;
import org.apache.flink.streaming.api.windowing.time.Time;
import org.apache.flink.streaming.api.windowing.windows.TimeWindow;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.consumer.ConsumerRecord;

/** The job of bench/sums as a native Flink job in one process: state on the heap, checkpoints to files, objects reused. */
public final class Sums {
  public static final class Event {
    public String key;
    public long size;
  }

  public static final class Value {
    public long id;
    public long size;
  }

  public static final class Result {
    public long start;
    public String key;
    public long size;
    public long count;
  }

  public static final class Decode implements KafkaRecordDeserializationSchema<Event> {
    private transient ObjectReader reader;

    @Override
    public void deserialize(ConsumerRecord<byte[], byte[]> r, Collector<Event> out) throws IOException {
      if (reader == null) {
        reader = new ObjectMapper().readerFor(Value.class);
      }
      Results.begin();
      Value v = reader.readValue(r.value());
      Event e = new Event();
      e.key = new String(r.key(), StandardCharsets.UTF_8);
      e.size = v.size;
      out.collect(e);
    }

    @Override
    public TypeInformation<Event> getProducedType() {
      return TypeInformation.of(Event.class);
    }
  }

  public static final class Add implements AggregateFunction<Event, long[], long[]> {
    @Override
    public long[] createAccumulator() {
      return new long[2];
    }

    @Override
    public long[] add(Event e, long[] s) {
      s[0] += e.size;
      s[1]++;
      return s;
    }

    @Override
    public long[] getResult(long[] s) {
      return s;
    }

    @Override
    public long[] merge(long[] a, long[] b) {
      a[0] += b[0];
      a[1] += b[1];
      return a;
    }
  }

  public static final class Name extends ProcessWindowFunction<long[], Result, String, TimeWindow> {
    @Override
    public void process(String key, Context c, Iterable<long[]> sums, Collector<Result> out) {
      long[] s = sums.iterator().next();
      Result r = new Result();
      r.start = c.window().getStart();
      r.key = key;
      r.size = s[0];
      r.count = s[1];
      out.collect(r);
    }
  }

  public static final class Sink implements SinkFunction<Result> {
    @Override
    public void invoke(Result r, Context c) {
      Results.add(r.start, r.key, r.size, r.count);
    }
  }

  public static void main(String[] args) throws Exception {
    Configuration conf = new Configuration();
    conf.setString("taskmanager.memory.network.max", "128mb");
    conf.setString("execution.checkpointing.interval", System.getProperty("checkpoint"));
    conf.setString("state.checkpoint-storage", "filesystem");
    conf.setString("state.checkpoints.dir", "file://" + System.getProperty("state"));
    StreamExecutionEnvironment env =
        StreamExecutionEnvironment.createLocalEnvironment(Integer.getInteger("parallelism"), conf);
    env.getConfig().enableObjectReuse();
    KafkaSource<Event> source = KafkaSource.<Event>builder()
        .setBootstrapServers(System.getProperty("brokers"))
        .setTopics(System.getProperty("topic"))
        .setGroupId(System.getProperty("name"))
        .setStartingOffsets(OffsetsInitializer.earliest())
        .setDeserializer(new Decode())
        .build();
    env.fromSource(source, WatermarkStrategy.forMonotonousTimestamps(), "kafka")
        .keyBy(e -> e.key)
        .window(TumblingEventTimeWindows.of(Time.seconds(10)))
        .aggregate(new Add(), new Name())
        .addSink(new Sink());
    env.execute("sums");
  }
}
