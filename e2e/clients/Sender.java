import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.WebSocket;
import java.nio.ByteBuffer;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.TimeUnit;

/** Sends a message of 64 MiB to the server at args[0] and prints how that ends. */
public class Sender {
    public static void main(String[] args) throws Exception {
        CompletableFuture<String> end = new CompletableFuture<>();
        WebSocket ws = HttpClient.newHttpClient().newWebSocketBuilder().buildAsync(URI.create(args[0]), new WebSocket.Listener() {
            @Override
            public CompletionStage<?> onClose(WebSocket ws, int code, String reason) {
                end.complete("close " + code);
                return null;
            }

            @Override
            public void onError(WebSocket ws, Throwable error) {
                end.complete("error " + error);
            }
        }).get(10, TimeUnit.SECONDS);
        ws.sendBinary(ByteBuffer.allocate(64 << 20), true);
        System.out.println(end.get(30, TimeUnit.SECONDS));
        System.exit(0); // the client's threads would linger
    }
}
