// Package interop runs the common checklist through amqp091-go. This file holds what every check needs.
package interop

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const deadline = 5 * time.Second

var names atomic.Int64

// unique names are used by no other run, so that a killed run cannot disturb the next one.
func unique(what string) string {
	return fmt.Sprintf("interop.go.%d.%s.%d", os.Getpid(), what, names.Add(1))
}

func address() string {
	host, port := os.Getenv("AMQP_HOST"), os.Getenv("AMQP_PORT")
	if host == "" {
		host = "127.0.0.1"
	}
	if port == "" {
		port = "5672"
	}
	return net.JoinHostPort(host, port)
}

func url(password, vhost string) string {
	return fmt.Sprintf("amqp://guest:%s@%s/%s", password, address(), vhost)
}

func must[T any](t *testing.T) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		no(t, err)
		return value
	}
}

func no(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T comparable](t *testing.T, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("got %v, want %v", got, want)
	}
}

func connect(t *testing.T) *amqp.Connection {
	t.Helper()
	connection := must[*amqp.Connection](t)(amqp.Dial(url("guest", "%2f")))
	t.Cleanup(func() { connection.Close() })
	return connection
}

func channel(t *testing.T, connection *amqp.Connection) *amqp.Channel {
	t.Helper()
	return must[*amqp.Channel](t)(connection.Channel())
}

func temporaryQueue(t *testing.T, ch *amqp.Channel) string {
	t.Helper()
	return must[amqp.Queue](t)(ch.QueueDeclare(unique("q"), false, false, true, false, nil)).Name
}

func publish(t *testing.T, ch *amqp.Channel, exchange, key string, message amqp.Publishing) {
	t.Helper()
	no(t, ch.PublishWithContext(context.Background(), exchange, key, false, false, message))
}

func send(t *testing.T, ch *amqp.Channel, queue string, bodies ...string) {
	t.Helper()
	for _, body := range bodies {
		publish(t, ch, "", queue, amqp.Publishing{Body: []byte(body)})
	}
}

func consume(t *testing.T, ch *amqp.Channel, queue, tag string, autoAck bool) <-chan amqp.Delivery {
	t.Helper()
	return must[<-chan amqp.Delivery](t)(ch.Consume(queue, tag, autoAck, false, false, false, nil))
}

// receive takes what comes next from a Go channel, and fails when nothing comes or it is closed.
func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case value, open := <-from:
		if !open {
			t.Fatal("closed while a value was expected")
		}
		return value
	case <-time.After(deadline):
		t.Fatalf("nothing within %v", deadline)
	}
	panic("unreachable")
}

func take(t *testing.T, from <-chan amqp.Delivery, count int) []amqp.Delivery {
	t.Helper()
	var taken []amqp.Delivery
	for len(taken) < count {
		taken = append(taken, receive(t, from))
	}
	return taken
}

func expect(t *testing.T, from <-chan amqp.Delivery, redelivered bool, bodies ...string) []amqp.Delivery {
	t.Helper()
	taken := take(t, from, len(bodies))
	for i, body := range bodies {
		equal(t, string(taken[i].Body), body)
		equal(t, taken[i].Redelivered, redelivered)
	}
	return taken
}

func inspect(t *testing.T, ch *amqp.Channel, queue string) amqp.Queue {
	t.Helper()
	return must[amqp.Queue](t)(ch.QueueDeclarePassive(queue, false, false, true, false, nil))
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(deadline); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if condition() {
			return
		}
	}
	t.Fatalf("%s: not so within %v", what, deadline)
}

func refused(t *testing.T, err error, code int, reason string) {
	t.Helper()
	var refusal *amqp.Error
	if !errors.As(err, &refusal) || refusal.Code != code || refusal.Reason != reason {
		t.Fatalf("got %v, want %d %q", err, code, reason)
	}
}
