package interop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

func TestDeclare(t *testing.T) {
	connection := connect(t)
	ch := channel(t, connection)
	named := unique("named")
	queue := must[amqp.Queue](t)(ch.QueueDeclare(named, true, false, false, false, nil))
	equal(t, queue, amqp.Queue{Name: named})
	equal(t, must[amqp.Queue](t)(ch.QueueDeclarePassive(named, true, false, false, false, nil)), queue)
	equal(t, must[int](t)(ch.QueueDelete(named, false, false, false)), 0)
	generated := must[amqp.Queue](t)(ch.QueueDeclare("", false, false, true, false, nil))
	equal(t, strings.HasPrefix(generated.Name, "amq.gen-"), true)
	fleeting := must[amqp.Queue](t)(ch.QueueDeclare(unique("auto-delete"), false, true, false, false, nil)).Name
	consume(t, ch, fleeting, "only", true)
	no(t, ch.Cancel("only", false))
	_, err := ch.QueueDeclarePassive(fleeting, false, true, false, false, nil)
	refused(t, err, 404, fmt.Sprintf("NOT_FOUND - no queue '%s' in vhost '/'", fleeting))
}

func TestPropertiesAndHeadersComeBackAsSent(t *testing.T) {
	ch := channel(t, connect(t))
	queue := temporaryQueue(t, ch)
	headers := amqp.Table{
		"bool": true, "int8": int8(-8), "uint8": byte(200), "int16": int16(-30000), "uint16": uint16(60000),
		"int32": int32(-2000000000), "uint32": uint32(4000000000), "int64": int64(-1) << 63,
		"float": float32(0.5), "double": 0.1, "decimal": amqp.Decimal{Scale: 2, Value: 12345},
		"string": "žluťoučký", "bytes": []byte{0, 1, 255}, "time": time.Unix(1700000001, 0), "void": nil,
		"array": []any{int32(1), "two", []any{int32(3)}, amqp.Table{"four": int32(4)}},
		"table": amqp.Table{"nested": amqp.Table{"deeper": "x"}},
	}
	sent := amqp.Publishing{
		Headers: headers, ContentType: "application/json", ContentEncoding: "utf-8", DeliveryMode: amqp.Persistent,
		Priority: 7, CorrelationId: "correlation", ReplyTo: "reply", Expiration: "60000", MessageId: "id",
		Timestamp: time.Unix(1700000000, 0), Type: "type", UserId: "guest", AppId: "app", Body: []byte("{}"),
	}
	publish(t, ch, "", queue, sent)
	got := receive(t, consume(t, ch, queue, "", true))
	came := amqp.Publishing{
		Headers: got.Headers, ContentType: got.ContentType, ContentEncoding: got.ContentEncoding,
		DeliveryMode: got.DeliveryMode, Priority: got.Priority, CorrelationId: got.CorrelationId, ReplyTo: got.ReplyTo,
		Expiration: got.Expiration, MessageId: got.MessageId, Timestamp: got.Timestamp, Type: got.Type,
		UserId: got.UserId, AppId: got.AppId, Body: got.Body,
	}
	if !reflect.DeepEqual(came, sent) {
		t.Fatalf("got %#v, want %#v", came, sent)
	}
	equal(t, got.Exchange, "")
	equal(t, got.RoutingKey, queue)
	equal(t, got.Redelivered, false)
}

func TestAckNackAndReject(t *testing.T) {
	ch := channel(t, connect(t))
	queue := temporaryQueue(t, ch)
	send(t, ch, queue, "a", "b", "c", "d", "e")
	first := expect(t, consume(t, ch, queue, "first", false), false, "a", "b", "c", "d", "e")
	no(t, ch.Cancel("first", false))
	no(t, first[0].Ack(false))
	no(t, first[1].Reject(false))
	no(t, first[4].Nack(true, true)) // c, d and e go back
	eventually(t, "requeued", func() bool { return inspect(t, ch, queue).Messages == 3 })
	again := expect(t, consume(t, ch, queue, "", false), true, "c", "d", "e")
	no(t, again[2].Ack(true))
	equal(t, inspect(t, ch, queue).Messages, 0)
}

func TestClosedChannelPutsItsMessagesBackInOrder(t *testing.T) {
	connection := connect(t)
	ch, reader := channel(t, connection), channel(t, connection)
	queue := temporaryQueue(t, ch)
	send(t, ch, queue, "1", "2", "3")
	expect(t, consume(t, reader, queue, "", false), false, "1", "2", "3")
	no(t, reader.Close())
	expect(t, consume(t, ch, queue, "", false), true, "1", "2", "3")
}

func TestPrefetchOneIsFairDispatch(t *testing.T) {
	ch := channel(t, connect(t))
	queue := temporaryQueue(t, ch)
	no(t, ch.Qos(1, 0, false))
	slow, quick := consume(t, ch, queue, "slow", false), consume(t, ch, queue, "quick", false)
	send(t, ch, queue, "1", "2", "3", "4")
	expect(t, slow, false, "1") // never acknowledged, so the rest goes to the other consumer
	for _, body := range []string{"2", "3", "4"} {
		no(t, expect(t, quick, false, body)[0].Ack(false))
	}
}

func TestGlobalPrefetchCountsTheChannel(t *testing.T) {
	ch := channel(t, connect(t))
	queue := temporaryQueue(t, ch)
	no(t, ch.Qos(3, 0, true))
	consume(t, ch, queue, "left", false)
	consume(t, ch, queue, "right", false)
	send(t, ch, queue, "1", "2", "3", "4", "5")
	eventually(t, "three are out", func() bool { return inspect(t, ch, queue).Messages == 2 })
	no(t, ch.Ack(3, true))
	eventually(t, "all are out", func() bool { return inspect(t, ch, queue).Messages == 0 })
}

func TestConfirms(t *testing.T) {
	ch := channel(t, connect(t))
	queue := temporaryQueue(t, ch)
	no(t, ch.Confirm(false))
	var last *amqp.DeferredConfirmation
	for i := 0; i < 1001; i++ {
		message := amqp.Publishing{Body: []byte("x")}
		confirmation, err := ch.PublishWithDeferredConfirm("", queue, false, false, message)
		no(t, err)
		if i == 0 {
			equal(t, confirmation.Wait(), true)
		}
		last = confirmation
	}
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	equal(t, must[bool](t)(last.WaitContext(ctx)), true)
	equal(t, last.DeliveryTag, uint64(1001))
	equal(t, inspect(t, ch, queue).Messages, 1001)
}

func TestMandatoryReturnsComeBeforeTheAck(t *testing.T) {
	ch := channel(t, connect(t))
	no(t, ch.Confirm(false))
	// The client's one reading goroutine fills both, so what is in `returns` when the ack comes came before it.
	returns := ch.NotifyReturn(make(chan amqp.Return, 1))
	confirms := ch.NotifyPublish(make(chan amqp.Confirmation))
	no(t, ch.PublishWithContext(context.Background(), "amq.direct", unique("nowhere"), true, false,
		amqp.Publishing{Body: []byte("x"), MessageId: "lost"}))
	equal(t, receive(t, confirms), amqp.Confirmation{DeliveryTag: 1, Ack: true})
	equal(t, len(returns), 1) // already there when the ack came
	lost := receive(t, returns)
	equal(t, lost.ReplyCode, 312)
	equal(t, lost.ReplyText, "NO_ROUTE")
	equal(t, lost.MessageId+string(lost.Body), "lostx")
}

func TestTransactions(t *testing.T) {
	connection := connect(t)
	ch, watcher := channel(t, connection), channel(t, connection)
	queue := temporaryQueue(t, ch)
	no(t, ch.Tx())
	send(t, ch, queue, "lost")
	no(t, ch.TxRollback())
	send(t, ch, queue, "kept")
	equal(t, inspect(t, watcher, queue).Messages, 0)
	no(t, ch.TxCommit())
	expect(t, consume(t, watcher, queue, "", true), false, "kept")
	equal(t, inspect(t, watcher, queue).Messages, 0)
}

func TestRefusalsCloseOnlyTheChannel(t *testing.T) {
	first, second := connect(t), connect(t)
	missing := unique("missing")
	_, err := channel(t, first).QueueDeclarePassive(missing, false, false, false, false, nil)
	refused(t, err, 404, fmt.Sprintf("NOT_FOUND - no queue '%s' in vhost '/'", missing))
	err = channel(t, first).ExchangeDeclare("amq.direct", "fanout", true, false, false, false, nil)
	refused(t, err, 406, "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'amq.direct' in vhost '/': "+
		"received 'fanout' but current is 'direct'")
	queue := temporaryQueue(t, channel(t, first))
	_, err = channel(t, second).QueueDeclarePassive(queue, false, false, false, false, nil)
	refused(t, err, 405, fmt.Sprintf("RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '%s' in vhost "+
		"'/'. It could be originally declared on another connection or the exclusive property value does not match "+
		"that of the original declaration.", queue))

	ch := channel(t, first)
	closed := ch.NotifyClose(make(chan *amqp.Error, 1))
	no(t, ch.Ack(99, false))
	refused(t, receive(t, closed), 406, "PRECONDITION_FAILED - unknown delivery tag 99")

	for _, connection := range []*amqp.Connection{first, second} {
		no(t, channel(t, connection).Close()) // the connections outlived their channels
	}
}

func TestExchangesRoute(t *testing.T) {
	ch := channel(t, connect(t))
	exchange := func(kind string) string {
		name := unique(kind)
		no(t, ch.ExchangeDeclare(name, kind, false, true, false, false, nil))
		return name
	}
	bound := func(source, key string, arguments amqp.Table) string {
		queue := temporaryQueue(t, ch)
		no(t, ch.QueueBind(queue, key, source, false, arguments))
		return queue
	}
	arrives := func(queue string, wanted bool) {
		t.Helper()
		_, ok, err := ch.Get(queue, true)
		no(t, err)
		equal(t, ok, wanted)
	}

	direct := exchange("direct")
	one, two := bound(direct, "one", nil), bound(direct, "two", nil)
	publish(t, ch, direct, "one", amqp.Publishing{})
	arrives(one, true)
	arrives(two, false)
	no(t, ch.QueueUnbind(one, "one", direct, nil))
	publish(t, ch, direct, "one", amqp.Publishing{})
	arrives(one, false)

	fanout := exchange("fanout")
	left, right := bound(fanout, "", nil), bound(fanout, "ignored", nil)
	publish(t, ch, fanout, "any", amqp.Publishing{})
	arrives(left, true)
	arrives(right, true)

	topic := exchange("topic")
	star, hash := bound(topic, "a.*.c", nil), bound(topic, "a.#", nil)
	for _, key := range []string{"a.b.c", "a", "b"} {
		publish(t, ch, topic, key, amqp.Publishing{})
	}
	arrives(star, true)
	arrives(star, false)
	arrives(hash, true)
	arrives(hash, true)
	arrives(hash, false)

	headers := exchange("headers")
	all := bound(headers, "", amqp.Table{"x-match": "all", "colour": "red", "size": int32(3)})
	some := bound(headers, "", amqp.Table{"x-match": "any", "colour": "red", "size": int32(3)})
	publish(t, ch, headers, "", amqp.Publishing{Headers: amqp.Table{"size": int32(3)}})
	arrives(all, false)
	arrives(some, true)

	source := exchange("fanout")
	no(t, ch.ExchangeBind(direct, "", source, false, nil))
	publish(t, ch, source, "two", amqp.Publishing{})
	arrives(two, true)
	no(t, ch.ExchangeUnbind(direct, "", source, false, nil))
}

func TestConsumersHearOfADeletedQueue(t *testing.T) {
	ch := channel(t, connect(t))
	queue := temporaryQueue(t, ch)
	cancelled := ch.NotifyCancel(make(chan string, 1))
	consume(t, ch, queue, "told", false)
	must[int](t)(ch.QueueDelete(queue, false, false, false))
	equal(t, receive(t, cancelled), "told")
}

func TestGetAndGetFromAnEmptyQueue(t *testing.T) {
	ch := channel(t, connect(t))
	queue := temporaryQueue(t, ch)
	_, ok, err := ch.Get(queue, false)
	no(t, err)
	equal(t, ok, false)
	send(t, ch, queue, "x", "y")
	message, _, err := ch.Get(queue, false)
	no(t, err)
	equal(t, string(message.Body), "x")
	equal(t, message.MessageCount, uint32(1))
	no(t, message.Nack(false, true))
	again, _, err := ch.Get(queue, false)
	no(t, err)
	equal(t, string(again.Body), "x")
	equal(t, again.Redelivered, true)
	equal(t, must[int](t)(ch.QueuePurge(queue, false)), 1)
}

func TestDirectReplyTo(t *testing.T) {
	const replyTo = "amq.rabbitmq.reply-to"
	connection := connect(t)
	client, server := channel(t, connection), channel(t, connection)
	queue := temporaryQueue(t, server)
	requests, replies := consume(t, server, queue, "", true), consume(t, client, replyTo, "", true)
	publish(t, client, "", queue, amqp.Publishing{ReplyTo: replyTo, CorrelationId: "42", Body: []byte("hare")})
	request := receive(t, requests)
	publish(t, server, "", request.ReplyTo, amqp.Publishing{CorrelationId: request.CorrelationId, Body: request.Body})
	reply := receive(t, replies)
	equal(t, reply.CorrelationId+string(reply.Body), "42hare")
}

func TestBodiesOfOneMebibyteAndOfNothing(t *testing.T) {
	ch := channel(t, connect(t))
	queue := temporaryQueue(t, ch)
	big := bytes.Repeat([]byte("leveret!"), 1024*1024/8)
	publish(t, ch, "", queue, amqp.Publishing{Body: big})
	publish(t, ch, "", queue, amqp.Publishing{})
	taken := take(t, consume(t, ch, queue, "", true), 2)
	equal(t, bytes.Equal(taken[0].Body, big), true)
	equal(t, len(taken[1].Body), 0)
}

func TestHeartbeatsKeepAnIdleConnectionAlive(t *testing.T) {
	t.Parallel()
	connection := must[*amqp.Connection](t)(amqp.DialConfig(url("guest", "%2f"), amqp.Config{Heartbeat: time.Second}))
	defer connection.Close()
	equal(t, connection.Config.Heartbeat, time.Second)
	select {
	case err := <-connection.NotifyClose(make(chan *amqp.Error, 1)):
		t.Fatal(err)
	case <-time.After(3500 * time.Millisecond): // three intervals: the time itself is under test
	}
	no(t, channel(t, connection).Close())
}

func TestConnectAgainAfterTheSocketIsCut(t *testing.T) {
	var socket net.Conn
	dial := func(network, address string) (net.Conn, error) {
		var err error
		socket, err = amqp.DefaultDial(deadline)(network, address)
		return socket, err
	}
	connection := must[*amqp.Connection](t)(amqp.DialConfig(url("guest", "%2f"), amqp.Config{Dial: dial}))
	queue := must[amqp.Queue](t)(channel(t, connection).QueueDeclare(unique("kept"), true, false, false, false, nil))
	reader := channel(t, connection)
	send(t, reader, queue.Name, "survivor")
	expect(t, consume(t, reader, queue.Name, "", false), false, "survivor")
	closed := connection.NotifyClose(make(chan *amqp.Error, 1))
	socket.Close()
	equal(t, receive(t, closed) != nil, true)

	ch := channel(t, connect(t))
	expect(t, consume(t, ch, queue.Name, "", true), true, "survivor")
	must[int](t)(ch.QueueDelete(queue.Name, false, false, false))
}

func TestWrongPasswordAndUnknownVhostAreRefused(t *testing.T) {
	_, err := amqp.Dial(url("wrong", "%2f"))
	equal(t, errors.Is(err, amqp.ErrCredentials), true)
	_, err = amqp.Dial(url("guest", "nowhere"))
	refused(t, err, 530, "NOT_ALLOWED - vhost nowhere not found")
}
