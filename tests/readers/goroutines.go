// クライアントごとに goroutine (第3章): go build -o build/goroutines tests/readers/goroutines.go
package main

import (
	"io"
	"net"
	"os"
)

func handle(client net.Conn) {
	defer client.Close()
	io.Copy(client, client)
}

func main() {
	server, err := net.Listen("tcp", "127.0.0.1:"+os.Args[1])
	if err != nil {
		panic(err)
	}
	for {
		if client, err := server.Accept(); err == nil {
			go handle(client)
		}
	}
}
