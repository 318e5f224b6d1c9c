import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.WebSocket;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/** Talks to the echo server at args[0] with the client of the JDK. */
public class E2E {
    /** Puts one line per event into a queue; a message counts when its last part is there. */
    static class Events implements WebSocket.Listener {
        final BlockingQueue<String> queue = new LinkedBlockingQueue<>();
        final StringBuilder text = new StringBuilder();
        int bytes;

        @Override
        public CompletionStage<?> onText(WebSocket ws, CharSequence part, boolean last) {
            text.append(part);
            if (last) {
                queue.add("text " + text);
                text.setLength(0);
            }
            ws.request(1);
            return null;
        }

        @Override
        public CompletionStage<?> onBinary(WebSocket ws, ByteBuffer part, boolean last) {
            bytes += part.remaining();
            if (last) {
                queue.add("binary " + bytes);
                bytes = 0;
            }
            ws.request(1);
            return null;
        }

        @Override
        public CompletionStage<?> onPong(WebSocket ws, ByteBuffer data) {
            queue.add("pong " + StandardCharsets.UTF_8.decode(data));
            ws.request(1);
            return null;
        }

        @Override
        public CompletionStage<?> onClose(WebSocket ws, int code, String reason) {
            queue.add("close " + code);
            return null;
        }

        @Override
        public void onError(WebSocket ws, Throwable error) {
            queue.add("error " + error);
        }

        void expect(String want, String step) throws InterruptedException {
            String got = queue.poll(10, TimeUnit.SECONDS);
            if (!want.equals(got)) {
                System.err.println(step + ": got " + got + ", want " + want);
                System.exit(1);
            }
            System.out.println(step);
        }
    }

    public static void main(String[] args) throws Exception {
        Events events = new Events();
        WebSocket ws = HttpClient.newHttpClient().newWebSocketBuilder()
                .buildAsync(URI.create(args[0]), events).get(10, TimeUnit.SECONDS);
        ws.sendText("héllo €", true).join();
        events.expect("text héllo €", "text");
        ws.sendBinary(ByteBuffer.allocate(100_000), true).join();
        events.expect("binary 100000", "binary");
        ws.sendText("Hel", false).join();
        ws.sendText("lo", true).join();
        events.expect("text Hello", "fragments");
        ws.sendPing(ByteBuffer.wrap("payload".getBytes(StandardCharsets.UTF_8))).join();
        events.expect("pong payload", "ping");
        ws.sendClose(3000, "bye").join();
        events.expect("close 3000", "close");
        System.exit(0); // the client's threads would linger
    }
}
