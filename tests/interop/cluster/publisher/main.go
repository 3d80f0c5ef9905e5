// A publisher with confirms that goes on, at the next node, whatever happens to its connection, until its input is closed.
//
//	publisher NAME QUEUES URLS    queues and URLs with commas between them
//
// It prints "p MESSAGE TIME" before it publishes, "c MESSAGE TIME" once that is confirmed, "r MESSAGE TIME" when it is
// refused. What had no answer when a connection was lost is not published again: it may be there or not.
package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	inFlight      = 64
	pause         = 2 * time.Millisecond
	pauseAfter    = 20 * time.Millisecond
	dialTimeout   = 2 * time.Second
	lastWords     = 3 * time.Second
	largeEach     = 97
	largeBytes    = 60000
	smallBytesMax = 300
	bulk          = "bulk"
	bulkBytes     = 200000
)

var (
	output  = bufio.NewWriter(os.Stdout)
	writing sync.Mutex
	ended   atomic.Bool
	numbers = map[string]int{}
)

func say(what, message string) {
	writing.Lock()
	defer writing.Unlock()
	fmt.Fprintf(output, "%s %s %.6f\n", what, message, float64(time.Now().UnixMicro())/1e6)
	output.Flush()
}

// As body_of in history.py.
func body(message, queue string, number int) []byte {
	sum := sha256.Sum256([]byte(message))
	digest := hex.EncodeToString(sum[:])
	start, _ := strconv.ParseInt(digest[:4], 16, 32)
	length := int(start) % smallBytesMax
	if number%largeEach == largeEach-1 {
		length = largeBytes
	}
	if queue == bulk {
		length = bulkBytes
	}
	filling := strings.Repeat(digest, length/len(digest)+1)
	return []byte(message + " " + filling[:length])
}

func publishOn(url, line string, queues []string) error {
	connection, err := amqp.DialConfig(url, amqp.Config{
		Heartbeat: time.Second,
		Dial: func(network, address string) (net.Conn, error) {
			socket, err := net.DialTimeout(network, address, dialTimeout)
			if err == nil {
				// The library takes it away once the connection is open.
				err = socket.SetDeadline(time.Now().Add(dialTimeout))
			}
			return socket, err
		},
	})
	if err != nil {
		return err
	}
	defer connection.Close()
	channel, err := connection.Channel()
	if err == nil {
		err = channel.Confirm(false)
	}
	if err != nil {
		return err
	}
	closed := connection.NotifyClose(make(chan *amqp.Error, 1))
	room := make(chan struct{}, inFlight)
	gone := make(chan struct{})
	defer close(gone)
	var waiting sync.WaitGroup
	for turn := 0; !ended.Load(); turn++ {
		select {
		case room <- struct{}{}:
		case err := <-closed:
			return err
		case <-time.After(lastWords):
			if ended.Load() {
				return nil
			}
			continue
		}
		queue := queues[turn%len(queues)]
		number := numbers[queue]
		numbers[queue]++
		message := fmt.Sprintf("%s/%s/%d", line, queue, number)
		say("p", message)
		confirm, err := channel.PublishWithDeferredConfirm("", queue, true, false, amqp.Publishing{
			DeliveryMode: amqp.Persistent, Body: body(message, queue, number),
		})
		if err != nil {
			return err
		}
		waiting.Add(1)
		go func() {
			defer waiting.Done()
			select {
			case <-confirm.Done():
				// A connection that is lost counts as refused with the library.
				if confirm.Acked() {
					say("c", message)
				}
				<-room
			case <-gone:
			}
		}()
		time.Sleep(pause)
	}
	all := make(chan struct{})
	go func() { waiting.Wait(); close(all) }()
	deadline, cancel := context.WithTimeout(context.Background(), lastWords)
	defer cancel()
	select {
	case <-all:
	case <-closed:
	case <-deadline.Done():
	}
	return nil
}

func main() {
	name, queues, urls := os.Args[1], strings.Split(os.Args[2], ","), strings.Split(os.Args[3], ",")
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		ended.Store(true)
	}()
	for connection := 0; !ended.Load(); connection++ {
		line := fmt.Sprintf("%s.%d", name, connection)
		if err := publishOn(urls[connection%len(urls)], line, queues); err != nil {
			fmt.Fprintln(os.Stderr, line, err)
			time.Sleep(pauseAfter)
		}
	}
}
