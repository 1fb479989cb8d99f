// 行を送りあうチャット (第11章、一人に二つの goroutine): chat port idle-ms clients grace-ms
package main

import (
	"bufio"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"
)

type member struct {
	*net.TCPConn
	unsent []byte // まだ送っていないもの
}

var room, stopping, changed = map[*member]bool{}, false, sync.NewCond(&sync.Mutex{})
var idle, _ = time.ParseDuration(os.Args[2] + "ms")

func change(what func()) { // 一度に一つの goroutine が変え、待っているものを起こす
	changed.L.Lock()
	what()
	changed.L.Unlock()
	changed.Broadcast()
}

func (m *member) tellOthers(text string) {
	change(func() {
		for other := range room {
			if other != m && !stopping {
				other.unsent = append(other.unsent, m.RemoteAddr().String()+text...)
			}
			if len(other.unsent) > 64*1024 {
				other.Close() // 読むのが遅れた人
			}
		}
	})
}

func (m *member) sendUnsent(ended chan error) {
	for some, err := []byte("?"), error(nil); err == nil && len(some) > 0; _, err = m.Write(some) {
		change(func() {
			for len(m.unsent) == 0 && room[m] && !stopping {
				changed.Wait()
			}
			some, m.unsent = m.unsent, nil
		})
	}
	ended <- m.CloseWrite()
}

func (m *member) Read(buffer []byte) (int, error) {
	m.SetReadDeadline(time.Now().Add(idle))
	return m.TCPConn.Read(buffer)
}

func (m *member) serve() {
	ended, in := make(chan error, 1), bufio.NewReaderSize(m, 1024)
	change(func() { room[m] = true })
	go m.sendUnsent(ended)
	m.tellOthers(" joined\n")
	line, err := in.ReadSlice('\n')
	for ; err == nil; line, err = in.ReadSlice('\n') {
		m.tellOthers(": " + string(line))
	}
	if err == io.EOF && len(line) > 0 {
		m.tellOthers(": " + string(line) + "\n")
	}
	m.tellOthers(" left\n")
	change(func() {
		delete(room, m)
		if err == bufio.ErrBufferFull {
			m.unsent = append(m.unsent, "line too long\n"...)
		}
	})
	m.SetDeadline(time.Now().Add(idle))
	if err == bufio.ErrBufferFull || err == io.EOF {
		<-ended
		io.Copy(io.Discard, m.TCPConn) // 読まずに閉じると、断りが届かないことがある
	}
	m.Close()
}

func main() {
	server, err := net.Listen("tcp", "127.0.0.1:"+os.Args[1])
	if err != nil {
		panic(err)
	}
	limit, _ := strconv.Atoi(os.Args[3])
	grace, _ := time.ParseDuration(os.Args[4] + "ms")
	seats, stop := make(chan bool, limit), make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		for {
			if client, err := server.Accept(); err != nil {
				time.Sleep(time.Second / 10) // ディスクリプタが足りないか、もう閉じた
			} else {
				seats <- true
				go func() { (&member{TCPConn: client.(*net.TCPConn)}).serve(); <-seats }()
			}
		}
	}()
	<-stop
	change(func() { stopping = true })
	server.Close()
	time.AfterFunc(grace, func() { os.Exit(0) })
	for ; limit > 0; limit-- {
		seats <- true // すべての席が空くのを待つ
	}
}
