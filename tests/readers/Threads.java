// クライアントごとにスレッド (第3章): java tests/readers/Threads.java port
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;

class Threads {
    static void handle(Socket client) {
        try (client) {
            client.getInputStream().transferTo(client.getOutputStream());
        } catch (IOException reset) {
            // 打ち切られた。失うのは、この接続だけ
        }
    }

    public static void main(String[] arguments) throws IOException {
        int port = Integer.parseInt(arguments[0]);
        try (var server = new ServerSocket(port, 4096, InetAddress.getByName("127.0.0.1"))) {
            while (true) {
                Socket client = server.accept();
                new Thread(() -> handle(client)).start();
            }
        }
    }
}
