select number, vector from entries where number in (select value from json_each(:numbers))
