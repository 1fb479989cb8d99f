#include "common/endpoint.h"

#include <arpa/inet.h>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <netinet/in.h>
#include <string_view>

namespace {

constexpr const char* default_address = "127.0.0.1";

// atoi と違い、数字だけの文字列しか認めない。
std::optional<in_port_t> parse_port(std::string_view text) {
    in_port_t port = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
    if (error != std::errc{} || end != text.data() + text.size()) {
        return std::nullopt;
    }
    return port;
}

// sockaddr_in か sockaddr_in6 を、どちらも入る入れ物に移す。
template <typename Address> Endpoint endpoint_of(const Address& address) {
    Endpoint endpoint;
    std::memcpy(&endpoint.storage, &address, sizeof address);
    endpoint.length = sizeof address;
    return endpoint;
}

} // namespace

std::optional<Endpoint> parse_endpoint(const char* port, const char* address) {
    const std::optional<in_port_t> number = parse_port(port);
    if (!number) {
        return std::nullopt;
    }
    sockaddr_in ipv4{};
    if (inet_pton(AF_INET, address, &ipv4.sin_addr) == 1) {
        ipv4.sin_family = AF_INET;
        ipv4.sin_port = htons(*number);
        return endpoint_of(ipv4);
    }
    sockaddr_in6 ipv6{};
    if (inet_pton(AF_INET6, address, &ipv6.sin6_addr) == 1) {
        ipv6.sin6_family = AF_INET6;
        ipv6.sin6_port = htons(*number);
        return endpoint_of(ipv6);
    }
    return std::nullopt;
}

Endpoint endpoint_from_arguments(int argc, char* argv[]) {
    const char* const program = argc > 0 ? argv[0] : "server";
    for (int i = 1; i < argc; ++i) {
        const std::string_view argument = argv[i];
        if (argument == "-h" || argument == "--help") {
            std::printf("usage: %s <port> [address]\n"
                        "  port     0 to 65535 (a server lets the kernel choose with 0)\n"
                        "  address  an IPv4 or IPv6 address without a scope (%%eth0), default %s\n",
                        program, default_address);
            std::exit(std::fflush(stdout) == 0 ? 0 : 1);
        }
    }
    if (argc == 2 || argc == 3) {
        const char* const address = argc == 3 ? argv[2] : default_address;
        if (const auto endpoint = parse_endpoint(argv[1], address)) {
            return *endpoint;
        }
        if (!parse_port(argv[1])) {
            std::fprintf(stderr, "error: port \"%s\" is not a number from 0 to 65535\n", argv[1]);
        } else {
            std::fprintf(stderr, "error: address \"%s\" is neither IPv4 nor IPv6\n", address);
        }
    }
    std::fprintf(stderr, "usage: %s <port> [address]\n", program);
    std::exit(2);
}

EndpointText to_text(const Endpoint& endpoint) noexcept {
    EndpointText result = {"unknown"};
    char host[INET6_ADDRSTRLEN];
    if (endpoint.storage.ss_family == AF_INET) {
        sockaddr_in ipv4{};
        std::memcpy(&ipv4, &endpoint.storage, sizeof ipv4);
        inet_ntop(AF_INET, &ipv4.sin_addr, host, sizeof host);
        std::snprintf(result.text, sizeof result.text, "%s:%d", host, ntohs(ipv4.sin_port));
    } else if (endpoint.storage.ss_family == AF_INET6) {
        sockaddr_in6 ipv6{};
        std::memcpy(&ipv6, &endpoint.storage, sizeof ipv6);
        inet_ntop(AF_INET6, &ipv6.sin6_addr, host, sizeof host);
        std::snprintf(result.text, sizeof result.text, "[%s]:%d", host, ntohs(ipv6.sin6_port));
    }
    return result;
}

EndpointText local_address(const Socket& socket) noexcept {
    Endpoint endpoint;
    getsockname(socket.fd(), endpoint.address(), &endpoint.length); // 失敗すれば空のまま
    return to_text(endpoint);
}
