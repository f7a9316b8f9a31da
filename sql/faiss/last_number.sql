-- Given to a row ever, as far as it matters: those that training saw are not given again.
select max(user_version, coalesce((select max(number) from entries), 0)) from pragma_user_version
