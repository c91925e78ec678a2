#!/usr/bin/env bash
# One node of real Apache Kafka (KRaft: broker and controller in one process), put together from Maven Central.
#
#   kafka.sh fetch               get the jars, nothing else: start does it too, but a test may have cut off the network by then
#   kafka.sh start DIR [PORT]    start a broker with its data in DIR, wait until it answers, print 127.0.0.1:PORT (default 19092)
#   kafka.sh stop DIR            clean end: SIGTERM, after 20 s SIGKILL
#   kafka.sh kill DIR            SIGKILL, as a crash would; data stays, a later start goes on with it
#   kafka.sh topics DIR ARG...   the kafka-topics tool          (topics DIR --describe)
#   kafka.sh groups DIR ARG...   the kafka-consumer-groups tool (groups DIR --describe --all-groups)
#   kafka.sh configs DIR ARG...  the kafka-configs tool
#
# The jars lie in ${XDG_CACHE_HOME:-~/.cache}/millrace/kafka-VERSION, so that every clone on a machine shares one download.
# DIR gets: data/ broker.pid broker.log broker.properties port. The controller listens on PORT + 1.
# KAFKA_HEAP=256m sets the Java heap; KAFKA_PROPERTIES="a=b c=d" adds broker properties. Needs Java 17; to fetch, Maven.
# Exit: 0 done, 1 failed (the reason on standard error), 2 wrong usage.
set -euo pipefail
readonly version=4.3.1 scala=2.13 log4j=2.25.3
readonly jars="${XDG_CACHE_HOME:-$HOME/.cache}/millrace/kafka-$version"
readonly start_limit_s=90 stop_limit_s=20

fail() { echo "kafka.sh: $1" >&2; exit "${2:-1}"; }

pom() {
        local artifact
        echo '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        echo '<groupId>millrace.tests</groupId><artifactId>kafka</artifactId><version>1</version><dependencies>'
        for artifact in "org.apache.kafka:kafka_$scala:$version" "org.apache.kafka:kafka-tools:$version" \
                "org.apache.logging.log4j:log4j-slf4j-impl:$log4j" "org.apache.logging.log4j:log4j-core:$log4j"; do
                IFS=: read -r group name number <<< "$artifact"
                echo "<dependency><groupId>$group</groupId><artifactId>$name</artifactId><version>$number</version></dependency>"
        done
        echo '</dependencies></project>'
}

fetch() { # into a folder of its own, renamed when whole; a second caller waits for the first
        command -v java > /dev/null || fail "Java 17 is needed: apt-get install openjdk-17-jre-headless"
        mkdir -p "$(dirname "$jars")"
        exec 8> "$jars.lock"
        flock 8
        if [ ! -d "$jars" ]; then
                command -v mvn > /dev/null || fail "Maven is needed to get Kafka once: apt-get install maven"
                rm -rf "$jars.part" && mkdir "$jars.part"
                pom > "$jars.part/pom.xml"
                mvn -q -B -C -f "$jars.part/pom.xml" dependency:copy-dependencies -DincludeScope=runtime \
                        -DoutputDirectory="$jars.part" > "$jars.log" 2>&1 ||
                        fail "Maven could not get Kafka $version: see $jars.log"
                mv "$jars.part" "$jars"
        fi
        exec 8>&-
}

# The pid of DIR's broker. False when there is none; a pid that another program has got meanwhile doesn't count.
broker_pid() {
        local pid
        pid=$(cat "$1/broker.pid" 2> /dev/null) || return 1
        grep -qzF "$1/broker.properties" "/proc/$pid/cmdline" 2> /dev/null && echo "$pid"
}

listening() { (exec 3<> "/dev/tcp/127.0.0.1/$1") 2> /dev/null; }

properties() { # DIR PORT
        cat <<-END
        process.roles=broker,controller
        node.id=1
        controller.quorum.voters=1@127.0.0.1:$(($2 + 1))
        listeners=PLAINTEXT://127.0.0.1:$2,CONTROLLER://127.0.0.1:$(($2 + 1))
        advertised.listeners=PLAINTEXT://127.0.0.1:$2
        listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
        controller.listener.names=CONTROLLER
        log.dirs=$1/data
        # one node: every internal topic has one replica and few partitions
        offsets.topic.replication.factor=1
        offsets.topic.num.partitions=4
        transaction.state.log.replication.factor=1
        transaction.state.log.min.isr=1
        transaction.state.log.num.partitions=2
        share.coordinator.state.topic.replication.factor=1
        share.coordinator.state.topic.min.isr=1
        # tests wait for groups and for the node after a crash: keep both short
        group.initial.rebalance.delay.ms=0
        broker.heartbeat.interval.ms=500
        broker.session.timeout.ms=3000
        # topics are made by the program under test, or not at all
        auto.create.topics.enable=false
        num.network.threads=2
        num.io.threads=4
        log.cleaner.threads=1
        log.cleaner.dedupe.buffer.size=16777216
	END
        tr ' ' '\n' <<< "${KAFKA_PROPERTIES:-}"
}

logging() { # LEVEL TARGET
        cat <<-END
        status=error
        appender.out.type=Console
        appender.out.name=out
        appender.out.target=$2
        appender.out.layout.type=PatternLayout
        appender.out.layout.pattern=%d %p %c{1} %m%n
        rootLogger.level=$1
        rootLogger.appenderRef.out.ref=out
        logger.settings.name=org.apache.kafka.common.config.AbstractConfig
        logger.settings.level=warn
	END
}

tool() { # DIR CLASS ARG...
        local dir=$1
        shift
        java -Xmx128m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Dlog4j2.configurationFile="$dir/tools.logging.properties" \
                -cp "$jars/*" "$@"
}

start() { # DIR [PORT]
        local dir=$1 port=${2:-$(cat "$1/port" 2> /dev/null || echo 19092)} i id
        if ! broker_pid "$dir" > /dev/null; then
                [[ $port =~ ^[1-9][0-9]{0,4}$ ]] && [ "$port" -lt 65535 ] || fail "$port is no port" 2
                for i in "$port" $((port + 1)); do
                        ! listening "$i" || fail "port $i is taken; name another: kafka.sh start $dir PORT"
                done
                fetch
                echo "$port" > "$dir/port"
                properties "$dir" "$port" | sed 's/^ *//' > "$dir/broker.properties"
                logging info SYSTEM_OUT | sed 's/^ *//' > "$dir/logging.properties"
                logging warn SYSTEM_ERR | sed 's/^ *//' > "$dir/tools.logging.properties"
                if [ ! -f "$dir/data/meta.properties" ]; then # the 1 in front: an id that begins with - would read as an option
                        id=1$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | cut -c2-22)
                        tool "$dir" kafka.tools.StorageTool format -t "$id" -c "$dir/broker.properties" > "$dir/format.log" 2>&1 ||
                                fail "the data folder could not be made: see $dir/format.log"
                fi
                : > "$dir/broker.log" # or the wait below could read the log of the run before
                setsid java -Xms64m "-Xmx${KAFKA_HEAP:-256m}" -XX:+UseSerialGC -XX:+ExitOnOutOfMemoryError \
                        -Dlog4j2.configurationFile="$dir/logging.properties" -cp "$jars/*" kafka.Kafka "$dir/broker.properties" \
                        >> "$dir/broker.log" 2>&1 < /dev/null &
                echo $! > "$dir/broker.pid"
        fi
        for ((i = 0; i < start_limit_s * 10; i++)); do # the port opens before the broker is ready: its log says when
                if grep -q 'Kafka Server started' "$dir/broker.log" && listening "$port"; then
                        echo "127.0.0.1:$port"
                        return
                fi
                kill -0 "$(cat "$dir/broker.pid")" 2> /dev/null || fail "the broker ended: see $dir/broker.log"
                sleep 0.1
        done
        fail "no answer after $start_limit_s s: see $dir/broker.log"
}

end() { # DIR SIGNAL
        local pid i
        if pid=$(broker_pid "$1"); then
                kill "-$2" "$pid" 2> /dev/null || true
                for ((i = 0; i < stop_limit_s * 10; i++)); do
                        kill -0 "$pid" 2> /dev/null || break
                        sleep 0.1
                done
                kill -KILL "$pid" 2> /dev/null || true
        fi
        rm -f "$1/broker.pid"
}

usage() { sed -n '2,15s/^# \{0,1\}//p' "$0" >&2; exit 2; }

command=${1:-}
if [ "$command" = fetch ]; then
        fetch
        exit
fi
[ $# -ge 2 ] || usage
[ "$command" != start ] || mkdir -p "$2"
dir=$(cd "$2" 2> /dev/null && pwd) || fail "there is no folder $2" 2
shift 2
bootstrap=(--bootstrap-server "127.0.0.1:$(cat "$dir/port" 2> /dev/null || echo 19092)")
case $command in
start) start "$dir" "$@" ;;
stop) end "$dir" TERM ;;
kill) end "$dir" KILL ;;
topics) tool "$dir" org.apache.kafka.tools.TopicCommand "${bootstrap[@]}" "$@" ;;
groups) tool "$dir" org.apache.kafka.tools.consumer.group.ConsumerGroupCommand "${bootstrap[@]}" "$@" ;;
configs) tool "$dir" kafka.admin.ConfigCommand "${bootstrap[@]}" "$@" ;;
*) usage ;;
esac
