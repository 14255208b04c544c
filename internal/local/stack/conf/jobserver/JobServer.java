import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.apache.beam.model.pipeline.v1.Endpoints.ApiServiceDescriptor;
import org.apache.beam.runners.jobsubmission.JobServerDriver;
import org.apache.beam.sdk.fn.server.GrpcContextHeaderAccessorProvider;
import org.apache.beam.sdk.fn.server.ServerFactory;
import org.apache.beam.sdk.io.FileSystems;
import org.apache.beam.sdk.options.PipelineOptionsFactory;
import org.apache.beam.vendor.grpc.v1p60p1.io.grpc.BindableService;
import org.apache.beam.vendor.grpc.v1p60p1.io.grpc.Server;
import org.apache.beam.vendor.grpc.v1p60p1.io.grpc.ServerInterceptors;
import org.apache.beam.vendor.grpc.v1p60p1.io.grpc.netty.NettyServerBuilder;

/**
 * Runs one of Beam's job servers on loopback. By itself it listens on all interfaces, whatever its host is said to be,
 * and whoever reaches it can run programs here. The first argument is the driver's class, the rest are the driver's own.
 */
public final class JobServer {
  public static void main(String[] args) throws Exception {
    FileSystems.setDefaultPipelineOptions(PipelineOptionsFactory.create()); // registers the schemes of paths
    String[] rest = Arrays.copyOfRange(args, 1, args.length);
    Object driver = Class.forName(args[0]).getMethod("fromParams", String[].class).invoke(null, (Object) rest);
    for (String name : List.of("jobServerFactory", "artifactServerFactory")) {
      var field = JobServerDriver.class.getDeclaredField(name);
      field.setAccessible(true);
      field.set(driver, new Loopback());
    }
    ((JobServerDriver) driver).run();
  }

  private static final class Loopback extends ServerFactory {
    @Override
    public Server allocateAddressAndCreate(List<BindableService> services, ApiServiceDescriptor.Builder made)
        throws IOException {
      Server server = serve(services, 0);
      made.setUrl("127.0.0.1:" + server.getPort());
      return server;
    }

    @Override
    public Server create(List<BindableService> services, ApiServiceDescriptor wanted) throws IOException {
      String url = wanted.getUrl();
      return serve(services, Integer.parseInt(url.substring(url.lastIndexOf(':') + 1)));
    }

    private static Server serve(List<BindableService> services, int port) throws IOException {
      var builder = NettyServerBuilder.forAddress(new InetSocketAddress(InetAddress.getByName("127.0.0.1"), port))
          .maxInboundMessageSize(Integer.MAX_VALUE)
          .permitKeepAliveTime(20, TimeUnit.SECONDS);
      for (var service : services) {
        builder.addService(ServerInterceptors.intercept(service, GrpcContextHeaderAccessorProvider.interceptor()));
      }
      return builder.build().start();
    }
  }
}
