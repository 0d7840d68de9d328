// Does the jobs of its arguments with Java's HttpClient; prints a line a page: job, status or -1,
// error or -, hash of the body or -, then header=value. A job is proxy, login or -, and URLs with
// commas in between. TRUST is a CA's file, or empty to verify nothing.
import java.net.InetSocketAddress;
import java.net.ProxySelector;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.MessageDigest;
import java.security.SecureRandom;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.time.Duration;
import java.util.Base64;
import java.util.HexFormat;
import java.util.List;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManager;
import javax.net.ssl.TrustManagerFactory;
import javax.net.ssl.X509ExtendedTrustManager;

class ByJava {
    static final List<String> COMPARED =
        List.of("proxy-authenticate", "proxy-status", "retry-after", "x-sim-error");

    public static void main(String[] jobs) throws Exception {
        SSLContext tls = SSLContext.getInstance("TLS");
        tls.init(null, trust(System.getenv().getOrDefault("TRUST", "")), new SecureRandom());
        for (int at = 0; at + 2 < jobs.length; at += 3) {
            URI proxy = URI.create(jobs[at]);
            // A client keeps its connections; each job has its own.
            HttpClient client = HttpClient.newBuilder()
                .proxy(ProxySelector.of(new InetSocketAddress(proxy.getHost(), proxy.getPort())))
                .sslContext(tls)
                .build();
            for (String url : jobs[at + 2].split(",")) {
                System.out.println(at / 3 + " " + page(client, url, jobs[at + 1]));
            }
        }
    }

    static String page(HttpClient client, String url, String login) throws Exception {
        HttpRequest.Builder asked =
            HttpRequest.newBuilder(URI.create(url)).timeout(Duration.ofSeconds(30));
        if (!login.equals("-")) {
            String token = Base64.getEncoder().encodeToString(login.getBytes());
            asked.header("Proxy-Authorization", "Basic " + token);
        }
        try {
            HttpResponse<byte[]> got =
                client.send(asked.build(), HttpResponse.BodyHandlers.ofByteArray());
            // A CONNECT refused with 407 is an answer without a body, any other an exception.
            if (got.body() == null) {
                return "-1 refused -";
            }
            byte[] hash = MessageDigest.getInstance("SHA-256").digest(got.body());
            StringBuilder line = new StringBuilder(got.statusCode() + " - ");
            line.append(HexFormat.of().formatHex(hash));
            for (String name : COMPARED) {
                got.headers().firstValue(name)
                    .ifPresent(value -> line.append("\t").append(name + "=" + value));
            }
            return line.toString();
        } catch (java.io.IOException error) {
            return "-1 " + error.getClass().getSimpleName() + " -";
        }
    }

    static TrustManager[] trust(String file) throws Exception {
        if (file.isEmpty()) {
            return new TrustManager[] {new TrustsAll()};
        }
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (var pem = Files.newInputStream(Path.of(file))) {
            store.setCertificateEntry(
                "ca", CertificateFactory.getInstance("X.509").generateCertificate(pem));
        }
        TrustManagerFactory factory =
            TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        factory.init(store);
        return factory.getTrustManagers();
    }

    // The extended kind: Java checks host names of the plain kind by itself.
    static class TrustsAll extends X509ExtendedTrustManager {
        public void checkClientTrusted(X509Certificate[] c, String a) {}
        public void checkServerTrusted(X509Certificate[] c, String a) {}
        public void checkClientTrusted(X509Certificate[] c, String a, java.net.Socket s) {}
        public void checkServerTrusted(X509Certificate[] c, String a, java.net.Socket s) {}
        public void checkClientTrusted(X509Certificate[] c, String a, javax.net.ssl.SSLEngine e) {}
        public void checkServerTrusted(X509Certificate[] c, String a, javax.net.ssl.SSLEngine e) {}
        public X509Certificate[] getAcceptedIssuers() { return new X509Certificate[0]; }
    }
}
